"""Rule embed: all images of a dataset through an encoder, as embeddings.h5."""

from visrec.jobs.job import commit, device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from importlib import import_module
    from pathlib import Path

    from visrec.data.images import label_counts

    # By its name: what it checks is no part of the code that makes the results (`visrec.jobs.fingerprint`).
    fits = import_module("visrec.experiment.fits")
    fits.check(snakemake.config, label_counts(snakemake.input.images), **dict(snakemake.wildcards.items()))

    from visrec.data.models import Model
    from visrec.encoders import EmbeddingFiles, embed

    made = snakemake.input.get("model")
    embed(
        snakemake.params.spec,
        snakemake.input.images,
        Model(Path(made), Path(snakemake.input.status)) if made else None,
        device(snakemake.config["device"]),
        EmbeddingFiles(**{name: Path(file) for name, file in snakemake.output.items()}),
        snakemake.params.dtype,
        commit(snakemake.scriptdir),
    )
