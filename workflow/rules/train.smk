rule train:
    input:
        images=IMAGES,
    output:
        encoder=f"{TRIAL}/encoder.safetensors",
        generator=f"{TRIAL}/generator.safetensors",
        history=f"{TRIAL}/history.csv",
        samples=report(
            f"{TRIAL}/samples.png",
            caption="../report/samples.rst",
            category="Pictures",
            subcategory="Samples",
            labels={"dataset": "{dataset}", "size": "{size}", "encoder": "{encoder}", "trial": "{trial}"},
        ),
        reconstructions=report(
            f"{TRIAL}/reconstructions.png",
            caption="../report/reconstructions.rst",
            category="Pictures",
            subcategory="Reconstructions",
            labels={"dataset": "{dataset}", "size": "{size}", "encoder": "{encoder}", "trial": "{trial}"},
        ),
        status=f"{TRIAL}/status.json",
    log:
        log_of("train", BELOW),
    benchmark:
        benchmark_of("train", BELOW)
    wildcard_constraints:
        encoder=names("encoders", "train"),
    threads: share(sum(has_stage(each, "train") for each in TRIALS))
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        options=lambda wildcards: trial(wildcards).options_of("train"),
        seed=lambda wildcards: trial(wildcards).seed,
        # No output: Snakemake deletes the outputs of a job that failed.
        checkpoints=f"{TRIAL}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard{BELOW}",
        code=lambda wildcards: code("train", f"encoders.{wildcards.encoder}:train"),
    script:
        "../scripts/train.py"
