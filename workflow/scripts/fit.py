"""Rule fit: an encoder that is content with a CPU, fitted on the training images."""

from visrec.jobs.job import job

with job(snakemake.log[0], snakemake.threads):
    from visrec.encoders import fit

    fit(
        snakemake.wildcards.encoder,
        snakemake.input.images,
        snakemake.params.options,
        snakemake.params.seed,
        snakemake.output.model,
        snakemake.output.status,
    )
