rule evaluate:
    input:
        embeddings=f"{TRIAL}/embeddings.h5",
    output:
        scores=f"{TRIAL}/{{evaluator}}.csv",
    log:
        log_of("evaluate", f"{BELOW}/{{evaluator}}"),
    benchmark:
        benchmark_of("evaluate", f"{BELOW}/{{evaluator}}")
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        options=lambda wildcards: options(config, "evaluators", wildcards.evaluator),
        seed=lambda wildcards: trial(wildcards).seed,
        code=lambda wildcards: code("evaluate", f"evaluators.{wildcards.evaluator}:evaluate"),
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
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        queries=config["report"]["queries"],
        neighbours=config["report"]["neighbours"],
        code=code("neighbours"),
    script:
        "../scripts/neighbours.py"
