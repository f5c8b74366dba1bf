"""Rule report: one self-contained page."""

from visrec.jobs.job import commit, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from pathlib import Path

    from visrec.experiment.layout import Experiment
    from visrec.report.html import report

    about = snakemake.params
    report(
        Experiment(Path(about.results), about.trials, list(about.config["evaluators"])),
        about.config,
        about.results,
        commit(snakemake.scriptdir),
        about.configfiles,
        ladder_csv=snakemake.input.ladder,
    )
