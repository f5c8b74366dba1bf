"""Rule partial: the report of the trials that are finished."""

from visrec.jobs.job import commit, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.report.partial import partial

    partial(
        snakemake.params.results,
        snakemake.params.trials,
        snakemake.params.files,
        snakemake.params.config,
        commit(snakemake.scriptdir),
        snakemake.params.configfiles,
        snakemake.params.ladder,
    )
