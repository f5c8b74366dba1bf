"""Rule tables: all scores in one tidy table, the leaderboard, the grid and the layers."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads):
    from visrec.report.tables import tables

    tables(
        snakemake.params.results, snakemake.params.trials, snakemake.params.evaluators, dict(snakemake.output.items())
    )
