"""Rule projection: where the report's points lie in two dimensions."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.scoring.projection import write_projection

    write_projection(snakemake.input.embeddings, snakemake.output.projection, points=snakemake.params.points)
