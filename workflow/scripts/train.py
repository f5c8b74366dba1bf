"""Rule train: an encoder that wants a GPU, trained on the training images."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.encoders import train

    train(
        snakemake.wildcards.encoder,
        snakemake.input.images,
        snakemake.params.options,
        snakemake.params.seed,
        device(snakemake.config["device"]),
        dict(snakemake.output.items()),
        snakemake.params.checkpoints,
        snakemake.config["checkpoints"],
        snakemake.params.code,
        snakemake.params.tensorboard if snakemake.config["tensorboard"] else None,
    )
