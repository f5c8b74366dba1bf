"""Rule download: one archive of a dataset, resumed where it broke off, and checked."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.data.download import fetch

    fetch(snakemake.params.archive, snakemake.output[0])
