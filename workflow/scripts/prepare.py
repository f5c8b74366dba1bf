"""Rule prepare: a dataset's images, brought to one size, as images.h5."""

from visrec.job import job

with job(snakemake.log[0], snakemake.threads):
    from visrec.datasets import prepare

    prepare(
        snakemake.wildcards.dataset, int(snakemake.wildcards.size), snakemake.params.options, snakemake.output.images
    )
