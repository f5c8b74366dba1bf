"""Rule neighbours: the nearest training images of the queries that the report shows."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.scoring.queries import write_neighbours

    write_neighbours(
        snakemake.input.embeddings,
        snakemake.output.neighbours,
        queries=snakemake.params.queries,
        k=snakemake.params.neighbours,
    )
