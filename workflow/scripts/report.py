"""Rule report: one self-contained page."""

from visrec.jobs.job import commit, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.report.html import report

    config, results = snakemake.params.config, snakemake.params.results
    report(
        results,
        config["experiment"],
        snakemake.params.trials,
        f"{results}/tables",
        f"{results}/figures",
        snakemake.output[0],
        config,
        commit(snakemake.scriptdir),
        queries=config["report"]["queries"],
        neighbours=config["report"]["neighbours"],
        configfiles=snakemake.params.configfiles,
        ladder_csv=snakemake.input.ladder,
    )
