"""Rule fit: an encoder that is fitted on the CPU, on the training images."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from importlib import import_module
    from pathlib import Path

    from visrec.data.images import label_counts

    # By its name: what it checks is no part of the code that makes the results (`visrec.jobs.fingerprint`).
    fits = import_module("visrec.experiment.fits")
    fits.check(snakemake.config, label_counts(snakemake.input.images), **dict(snakemake.wildcards.items()))

    from visrec.data.models import Model
    from visrec.encoders import fit

    fit(
        snakemake.params.spec,
        snakemake.input.images,
        Model(Path(snakemake.output.model), Path(snakemake.output.status)),
    )
