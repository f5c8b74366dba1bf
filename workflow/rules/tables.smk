def figure_files():
    """Every figure: (path, what it shows, dataset, size, whether Snakemake's own report shows it)."""
    for dataset, size in dict.fromkeys((each.dataset, each.size) for each in TRIALS):
        for name in FIGURES:
            stem, *variants = name.removesuffix(".svg").split("-")
            yield f"{RESULTS}/figures/{dataset}/{size}px/{name}", stem, dataset, size, not variants


rule tables:
    input:
        of_all_trials(layout.table_files, EVALUATORS),
    output:
        **{key: f"{RESULTS}/tables/{name}" for key, name in TABLES.items() if key != "leaderboard_html"},
        leaderboard_html=report(
            f"{RESULTS}/tables/{TABLES['leaderboard_html']}",
            caption="../report/leaderboard.rst",
            category="Results",
            labels={"what": "leaderboard (table)", "dataset": "all", "size": "all"},
        ),
    log:
        log_of("tables"),
    benchmark:
        benchmark_of("tables")
    localrule: True
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=RESULTS,
        trials=TRIALS,
        evaluators=EVALUATORS,
        declared=stated("LABELS", "PRETRAINED"),
        code=lambda wildcards: code("tables", "evaluators.knn:HEADLINE_K"),
    script:
        "../scripts/tables.py"


rule figures:
    input:
        rules.tables.output,
        of_all_trials(layout.figure_files),
    output:
        [
            (
                report(
                    figure,
                    caption=f"../report/{stem}.rst",
                    category="Results",
                    labels={"what": stem, "dataset": dataset, "size": str(size)},
                )
                if shown
                else figure
            )
            for figure, stem, dataset, size, shown in figure_files()
        ],
    log:
        log_of("figures"),
    benchmark:
        benchmark_of("figures")
    localrule: True
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        results=RESULTS,
        trials=TRIALS,
        declared=stated("LABELS", "PRETRAINED", "READINGS", "TITLE"),
        code=lambda wildcards: code("figures"),
    script:
        "../scripts/figures.py"
