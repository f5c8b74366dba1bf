"""Rule recommend: the most similar pictures of a gallery for each picture of a folder."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.recommender.recommend import TrialChoice, recommend

    dataset, size = snakemake.params.place
    recommend(
        snakemake.params.results,
        snakemake.params.query,
        snakemake.params.options,
        TrialChoice(dataset, size, snakemake.params.planned, snakemake.params.trials),
        snakemake.params.catalogue,
        snakemake.config["device"],
        snakemake.threads,
    )
