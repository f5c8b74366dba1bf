def archive_files(wildcards):
    """Where the archives of a dataset are: as the config says, or where `download` puts them."""
    found = archives(config, wildcards.dataset)
    return [each.get("path", f"data/{wildcards.dataset}/{name}") for name, each in found.items()]


def downloaded_files():
    """What `download` has to fetch for the whole config."""
    found = {dataset: archives(config, dataset) for dataset in config["datasets"]}
    return [f"data/{dataset}/{name}" for dataset, files in found.items() for name in files if "path" not in files[name]]


def archive_of(wildcards):
    """What is declared of one archive; a misspelt one ends Snakemake."""
    found = archives(config, wildcards.dataset)
    if wildcards.file not in found:
        known = registry.nearest(wildcards.file, found) if found else "it needs none"
        refuse(f"data/{wildcards.dataset}/{wildcards.file}: {wildcards.dataset} has no such archive; {known}")
    return found[wildcards.file]


rule download:
    output:
        "data/{dataset}/{file}",
    log:
        log_of("download", "/{dataset}/{file}"),
    benchmark:
        benchmark_of("download", "/{dataset}/{file}")
    wildcard_constraints:
        file="[^/]+",
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=600,
    params:
        # No fingerprint of code: an archive with the right checksum is right, whatever fetched it.
        archive=archive_of,
    script:
        "../scripts/download.py"


rule prepare:
    input:
        archive_files,
    output:
        images=IMAGES,
    log:
        log_of("prepare", "/{dataset}/{size}px"),
    benchmark:
        benchmark_of("prepare", "/{dataset}/{size}px")
    threads: share(len(config["datasets"]))
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        component=lambda wildcards: component_of(config, wildcards.dataset),
        options=lambda wildcards: options(config, "datasets", wildcards.dataset),
        checksums=lambda wildcards: {
            name: each["checksum"] for name, each in archives(config, wildcards.dataset).items()
        },
        code=lambda wildcards: code("prepare", f"datasets.{component_of(config, wildcards.dataset)}"),
    script:
        "../scripts/prepare.py"
