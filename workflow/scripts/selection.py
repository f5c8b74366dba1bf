"""Rule selection: measures of a trained network that need no labels."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.scoring.selection import write

    write(
        snakemake.input.images,
        snakemake.input.generator,
        snakemake.input.embeddings,
        snakemake.params.options,
        snakemake.params.seed,
        device(snakemake.config["device"]),
        snakemake.output.selectors,
        inception=snakemake.input.get("inception") or "",
    )
