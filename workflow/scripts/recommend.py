"""Rule recommend: the nearest gallery pictures of anyone's photos."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads):
    from visrec.recommender.recommend import recommend

    recommend(
        snakemake.params.results,
        snakemake.params.query,
        snakemake.params.options,
        *snakemake.params.place,
        snakemake.params.planned,
        snakemake.params.trials,
        snakemake.params.catalogue,
        snakemake.config["device"],
        snakemake.threads,
    )
