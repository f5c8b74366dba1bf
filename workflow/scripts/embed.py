"""Rule embed: all images of a dataset through an encoder, as embeddings.h5."""

from visrec.jobs.job import commit, device, job

with job(snakemake.log[0], snakemake.threads):
    from visrec.encoders import embed

    embed(
        snakemake.wildcards.encoder,
        snakemake.input.images,
        snakemake.input.get("model"),
        snakemake.input.get("status"),
        snakemake.params.options,
        snakemake.params.seed,
        device(snakemake.config["device"]),
        snakemake.output.embeddings,
        snakemake.output.layers,
        snakemake.output.cost,
        snakemake.params.dtype,
        commit(snakemake.scriptdir),
    )
