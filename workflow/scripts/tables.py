"""Rule tables: all scores in one tidy table, the leaderboard, the grid and the layers."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from pathlib import Path

    from visrec.experiment.layout import Experiment
    from visrec.report.tables import tables

    about = snakemake.params
    tables(Experiment(Path(about.results), about.trials, about.evaluators), dict(snakemake.output.items()))
