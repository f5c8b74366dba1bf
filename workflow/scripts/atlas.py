"""Rule atlas: every layer of a network alone and stacked, pooled in every way, scored."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.scoring.atlas import write

    write(
        snakemake.wildcards.encoder,
        snakemake.input.images,
        snakemake.input.get("model"),
        snakemake.input.get("status"),
        snakemake.params.options,
        snakemake.params.seed,
        device(snakemake.config["device"]),
        snakemake.output.atlas,
        images=snakemake.params.images,
        queries=snakemake.params.queries,
    )
