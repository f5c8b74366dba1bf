rule train:
    input:
        images=IMAGES,
    output:
        model=f"{TRIAL}/model.safetensors",
        history=f"{TRIAL}/history.csv",
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
        spec=lambda wildcards: trial(wildcards).spec("train"),
        # Declared by the encoder and read without import, so no part of its code's fingerprint.
        limits=lambda wildcards: registry.limits(wildcards.encoder),
        labels=lambda wildcards: registry.declared("encoders", wildcards.encoder).get("LABELS", False),
        unlabelled=lambda wildcards: registry.declared("encoders", wildcards.encoder).get("UNLABELLED", True),
        # No output: Snakemake deletes the outputs of a job that failed.
        checkpoints=f"{TRIAL}/checkpoints",
        tensorboard=f"{RESULTS}/tensorboard{BELOW}",
        code=lambda wildcards: code("train", f"encoders.{wildcards.encoder}:Training"),
    script:
        "../scripts/train.py"


rule draw:
    input:
        model=f"{TRIAL}/model.safetensors",
        images=IMAGES,
    output:
        picture=report(
            f"{TRIAL}/{{picture}}.png",
            caption="../report/pictures.rst",
            category="Pictures",
            subcategory="{picture}",
            labels={"dataset": "{dataset}", "size": "{size}", "encoder": "{encoder}", "trial": "{trial}"},
        ),
    log:
        log_of("draw", f"{BELOW}/{{picture}}"),
    benchmark:
        benchmark_of("draw", f"{BELOW}/{{picture}}")
    wildcard_constraints:
        encoder=names("encoders", "train"),
        picture="samples|reconstructions",
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 15 * attempt,
    params:
        spec=lambda wildcards: trial(wildcards).spec("train"),
        code=lambda wildcards: code("draw", f"encoders.{wildcards.encoder}:Training"),
    script:
        "../scripts/draw.py"
