"""Rule prepare: a dataset's images, brought to one size, as images.h5."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.datasets import prepare

    checksums = snakemake.params.checksums
    prepare(
        snakemake.params.component,
        int(snakemake.wildcards.size),
        snakemake.params.options,
        dict(zip(checksums, zip(snakemake.input, checksums.values(), strict=True), strict=True)),
        snakemake.threads,
        snakemake.output.images,
    )
