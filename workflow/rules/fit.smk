rule fit:
    input:
        images=IMAGES,
    output:
        model=f"{TRIAL}/encoder.safetensors",
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
        options=lambda wildcards: trial(wildcards).options_of("fit"),
        seed=lambda wildcards: trial(wildcards).seed,
        code=lambda wildcards: code("fit", f"encoders.{wildcards.encoder}:fit"),
    script:
        "../scripts/fit.py"
