def given_configfiles():
    """The config files to name in a command that rebuilds a trial; none for the demo's, which is taken by itself."""
    paths = [os.path.relpath(path) for path in workflow.configfiles]
    return [] if paths == ["config/config.yaml"] else paths


def printed_config():
    """The config as the report prints it: without what only keeps files or recommends, so that this re-runs nothing."""
    others = {key: value for key, value in config.items() if key not in ("embeddings", "query", "recommend")}
    # At the end wherever it stands in the file: Snakemake compares parameters as text.
    return {**others, "embeddings": {"dtype": config["embeddings"]["dtype"]}}


rule report:
    input:
        rules.tables.output,
        rules.figures.output,
        of_all_trials(layout.page_files),
        of_all_images(),
        ladder=LADDER,
    output:
        page=f"{RESULTS}/{layout.PAGE}",
        provenance=report(
            f"{RESULTS}/tables/{PROVENANCE}",
            caption="../report/provenance.rst",
            category="Results",
            labels={"what": "provenance (CSV)", "dataset": "all", "size": "all"},
        ),
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
        trials=TRIALS,
        config=printed_config(),
        configfiles=lambda wildcards: given_configfiles(),
        declared=stated("LABELS", "NEW_PICTURES", "PRETRAINED", "READINGS", "TITLE"),
        code=lambda wildcards: code("report", templates="report/templates"),
    script:
        "../scripts/report.py"
