"""Rule evaluate: one evaluator's scores of one embedding."""

from visrec.jobs.job import device, job

with job(snakemake.log[0], snakemake.threads, snakemake.input, snakemake.output):
    from visrec.evaluators import evaluate

    evaluate(
        snakemake.wildcards.evaluator,
        snakemake.input.embeddings,
        snakemake.params.options,
        snakemake.params.seed,
        device(snakemake.config["device"]),
        snakemake.output.scores,
        snakemake.output.queries,
    )
