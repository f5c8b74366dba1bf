def functions_of(evaluator):
    """What rule evaluate calls of an evaluator."""
    return [f"evaluators.{evaluator}:{name}" for name in ("evaluate", "lists")]


rule evaluate:
    input:
        embeddings=f"{TRIAL}/embeddings.h5",
    output:
        scores=f"{TRIAL}/{{evaluator}}.csv",
        queries=f"{TRIAL}/{{evaluator}}.h5",
    log:
        log_of("evaluate", f"{BELOW}/{{evaluator}}"),
    benchmark:
        benchmark_of("evaluate", f"{BELOW}/{{evaluator}}")
    priority: READERS_PRIORITY
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        options=lambda wildcards: options(config, "evaluators", wildcards.evaluator),
        seed=lambda wildcards: trial(wildcards).seed,
        code=lambda wildcards: code("evaluate", *functions_of(wildcards.evaluator)),
    script:
        "../scripts/evaluate.py"


rule neighbours:
    input:
        embeddings=f"{TRIAL}/embeddings.h5",
    output:
        neighbours=f"{TRIAL}/neighbours.csv",
    log:
        log_of("neighbours", BELOW),
    benchmark:
        benchmark_of("neighbours", BELOW)
    priority: READERS_PRIORITY
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        queries=config["report"]["searched"],
        neighbours=config["report"]["neighbours"],
        code=lambda wildcards: code("neighbours"),
    script:
        "../scripts/neighbours.py"


rule projection:
    input:
        embeddings=f"{TRIAL}/embeddings.h5",
    output:
        projection=f"{TRIAL}/projection.csv",
    log:
        log_of("projection", BELOW),
    benchmark:
        benchmark_of("projection", BELOW)
    priority: READERS_PRIORITY
    threads: 1  # so few points gain nothing from more
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        points=config["report"]["points"],
        code=lambda wildcards: code("projection"),
    script:
        "../scripts/projection.py"


rule atlas:
    input:
        unpack(model_of),
        images=IMAGES,
    output:
        atlas=f"{TRIAL}/atlas.csv",
    log:
        log_of("atlas", BELOW),
    benchmark:
        benchmark_of("atlas", BELOW)
    wildcard_constraints:
        encoder="|".join(name for name in registry.names("encoders") if has_atlas(name)),
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=lambda wildcards: trial(wildcards).spec(),
        images=config["atlas"]["images"],
        queries=config["atlas"]["queries"],
        code=lambda wildcards: code("atlas", *registry.roots_of(wildcards.encoder, "maps")),
    script:
        "../scripts/atlas.py"


rule selection:
    input:
        images=IMAGES,
        model=f"{TRIAL}/model.safetensors",
        embeddings=f"{TRIAL}/embeddings.h5",
        inception=config["selection"]["inception"] or [],
    output:
        selectors=f"{TRIAL}/selectors.csv",
    log:
        log_of("selection", BELOW),
    benchmark:
        benchmark_of("selection", BELOW)
    wildcard_constraints:
        encoder=names("encoders", "train"),
    priority: READERS_PRIORITY
    threads: share(sum(has_stage(each, "train") for each in TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        spec=lambda wildcards: trial(wildcards).spec("train"),
        code=lambda wildcards: code("selection", f"encoders.{wildcards.encoder}:Training"),
    script:
        "../scripts/selection.py"
