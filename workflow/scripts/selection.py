"""Rule selection: measures of a trained network that need no labels."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.scoring.selection import write

    write(
        snakemake.params.spec,
        snakemake.input.images,
        snakemake.input.model,
        snakemake.input.embeddings,
        device(snakemake.config["device"]),
        snakemake.output.selectors,
        inception=snakemake.input.get("inception") or "",
    )
