"""Rule figures: the pictures of the report, light and dark."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.report.figures.write import figures

    results = snakemake.params.results
    figures(f"{results}/tables", results, snakemake.params.trials, f"{results}/figures")
