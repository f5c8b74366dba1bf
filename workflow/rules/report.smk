def given_configfiles():
    """The config files to name in a command that rebuilds a trial; none for the demo's, which is taken by itself."""
    paths = [os.path.relpath(path) for path in workflow.configfiles]
    return [] if paths == ["config/config.yaml"] else paths


rule report:
    input:
        rules.tables.output,
        rules.figures.output,
        neighbours=of_all_trials("neighbours.csv"),
        status=[f"{RESULTS}/{each.folder}/status.json" for each in TRIALS if has_stage(each)],
        pictures=[
            f"{RESULTS}/{each.folder}/{name}.png"
            for each in TRIALS
            if has_stage(each, "train")
            for name in ("samples", "reconstructions")
        ],
        images=sorted({f"{RESULTS}/{each.dataset}/{each.size}px/images.h5" for each in TRIALS}),
    output:
        f"{RESULTS}/report/index.html",
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    localrule: True
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=RESULTS,
        trials=trial_records(),
        config=config,
        configfiles=given_configfiles(),
        code=code("report", templates="report/templates"),
    script:
        "../scripts/report.py"
