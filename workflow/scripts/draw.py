"""Rule draw: samples or reconstructions of a trained model."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.training.draw import draw

    draw(
        snakemake.wildcards.picture,
        snakemake.params.spec,
        snakemake.input.model,
        snakemake.input.images,
        device(snakemake.config["device"]),
        snakemake.output.picture,
    )
