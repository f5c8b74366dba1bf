rule prepare:
    output:
        images=IMAGES,
    log:
        log_of("prepare", "/{dataset}/{size}px"),
    benchmark:
        benchmark_of("prepare", "/{dataset}/{size}px")
    threads: 2
    resources:
        mem_mb=2000,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        options=lambda wildcards: options(config, "datasets", wildcards.dataset),
        code=lambda wildcards: code("prepare", f"datasets.{wildcards.dataset}"),
    script:
        "../scripts/prepare.py"
