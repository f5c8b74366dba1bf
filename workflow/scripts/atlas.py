"""Rule atlas: every layer of a network alone and stacked, pooled in every way, scored."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from pathlib import Path

    from visrec.data.models import Model
    from visrec.scoring.atlas import write

    made = snakemake.input.get("model")
    write(
        snakemake.params.spec,
        snakemake.input.images,
        Model(Path(made), Path(snakemake.input.status)) if made else None,
        device(snakemake.config["device"]),
        snakemake.output.atlas,
        images=snakemake.params.images,
        queries=snakemake.params.queries,
    )
