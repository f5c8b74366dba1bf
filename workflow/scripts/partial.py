"""Rule partial: the report of the trials that are finished."""

from visrec.jobs.job import commit, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from pathlib import Path

    from visrec.experiment.layout import Experiment
    from visrec.report.partial import partial

    about = snakemake.params
    partial(
        Experiment(Path(about.results), about.trials, list(about.config["evaluators"])),
        about.config,
        commit(snakemake.scriptdir),
        about.configfiles,
        about.ladder,
    )
