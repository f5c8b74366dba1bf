"""Rule fit: an encoder that is fitted on the CPU, on the training images."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from pathlib import Path

    from visrec.data.models import Model
    from visrec.encoders import fit

    fit(
        snakemake.params.spec,
        snakemake.input.images,
        Model(Path(snakemake.output.model), Path(snakemake.output.status)),
    )
