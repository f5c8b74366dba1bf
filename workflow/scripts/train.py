"""Rule train: a network, trained on the training images."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from importlib import import_module
    from pathlib import Path

    from visrec.data.images import label_counts

    # By its name: what it checks is no part of the code that makes the results (`visrec.jobs.fingerprint`).
    fits = import_module("visrec.experiment.fits")
    fits.check(snakemake.config, label_counts(snakemake.input.images), **dict(snakemake.wildcards.items()))

    from visrec.encoders import Resume, train

    train(
        snakemake.params.spec,
        snakemake.input.images,
        device(snakemake.config["device"]),
        {name: Path(file) for name, file in snakemake.output.items()},
        Resume(Path(snakemake.params.checkpoints), **snakemake.config["checkpoints"], code=snakemake.params.code),
        snakemake.params.tensorboard if snakemake.config["tensorboard"] else None,
    )
