rule fit:
    input:
        images=IMAGES,
    output:
        model=f"{TRIAL}/model.safetensors",
        status=f"{TRIAL}/status.json",
    log:
        log_of("fit", BELOW),
    benchmark:
        benchmark_of("fit", BELOW)
    wildcard_constraints:
        encoder=names("encoders", "fit"),
    threads: share(len(TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        spec=lambda wildcards: trial(wildcards).spec("fit"),
        code=lambda wildcards: code("fit", f"encoders.{wildcards.encoder}:fit"),
    script:
        "../scripts/fit.py"
