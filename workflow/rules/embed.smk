def model_of(wildcards):
    """What `fit` or `train` made of a trial; nothing for encoders that need neither."""
    if registry.declared("encoders", wildcards.encoder).get("STAGE") is None:
        return {}
    return {"model": f"{TRIAL}/model.safetensors", "status": f"{TRIAL}/status.json"}


def given_files(wildcards):
    """Files that an encoder's options name, such as features made elsewhere."""
    options = trial(wildcards).options
    return [
        options[name] for name in registry.declared("encoders", wildcards.encoder).get("FILES", ()) if options[name]
    ]


rule embed:
    input:
        unpack(model_of),
        images=IMAGES,
        given=given_files,
    output:
        # Temporary or not is no parameter: to change it re-runs nothing.
        embeddings=f"{TRIAL}/embeddings.h5" if config["embeddings"]["keep"] else temp(f"{TRIAL}/embeddings.h5"),
        layers=f"{TRIAL}/layers.csv",
        cost=f"{TRIAL}/embed.json",
    log:
        log_of("embed", BELOW),
    benchmark:
        benchmark_of("embed", BELOW)
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=lambda wildcards: trial(wildcards).spec(),
        dtype=config["embeddings"]["dtype"],
        code=lambda wildcards: code("embed", *registry.roots_of(wildcards.encoder, "extractor")),
    script:
        "../scripts/embed.py"
