# No output, as of rule partial: folders change without Snakemake seeing it, so it runs whenever it is asked for.
# Nothing of the config that is its own is a parameter of another rule.

LEADERBOARD = f"{RESULTS}/{layout.TABLES}/{TABLES['leaderboard']}"


def recommended():
    """Dataset, size and, if the config names one, the trial that recommends."""
    asked = config["recommend"]
    dataset = asked["dataset"] or next(iter(config["datasets"]))
    if dataset not in config["datasets"]:
        known = registry.nearest(dataset, config["datasets"])
        raise UserError(f"config: recommend.dataset: no dataset of this config is called '{dataset}'; {known}")
    sizes = config["datasets"][dataset]["sizes"]
    size = asked["size"] or sizes[0]
    if not asked["trial"]:
        if size not in sizes:
            raise UserError(f"config: recommend.size: {dataset} has no {size} px in this config; name a trial, too")
        return dataset, size, None
    encoder, _, name = asked["trial"].partition("/")
    registry.check("encoders", encoder)
    if not choice.embeds_new_pictures(encoder):
        raise UserError(f"config: recommend.trial: {encoder} has features of its dataset alone; name another trial")
    return dataset, size, trials.parse(config, dataset, size, encoder, name)


def files_to_recommend(each):
    """What a trial needs to embed new pictures."""
    names = [layout.EMBEDDINGS, *layout.model_files(each)]
    return [
        f"{RESULTS}/{layout.images(each.dataset, each.size)}",
        *(f"{RESULTS}/{each.folder}/{name}" for name in names),
    ]


@functools.cache
def planned():
    """Encoder/trial that recommends, and why; None where only a leaderboard that is not there yet can tell.

    Asked once: the rule's files and its job are of one trial, also if the leaderboard changes in between.
    """
    dataset, size, named = recommended()
    if named:
        return f"{named.encoder}/{named.name}", "as the config says"
    return choice.choose(LEADERBOARD, TRIALS, dataset, size) if os.path.exists(LEADERBOARD) else None


def needed():
    """The files of the trial that the config names, or that the leaderboard chooses.

    The leaderboard is taken as it is. As an input, it would evaluate a trial again whose embeddings were deleted.
    Before there is one it is an input, with all trials that it may choose: they have to be made anyway.
    """
    dataset, size, _ = recommended()
    if planned():
        encoder, _, name = planned()[0].partition("/")
        return files_to_recommend(trials.parse(config, dataset, size, encoder, name))
    able = [each for each in TRIALS if (each.dataset, each.size) == (dataset, size)]
    able = [each for each in able if choice.embeds_new_pictures(each.encoder)]
    if not able:
        raise UserError(
            f"config: recommend: no encoder of this config embeds new pictures of {dataset} at {size} px; name another "
            "dataset, `recommend: {dataset: ..., size: ...}`"
        )
    return [LEADERBOARD, *(file for each in able for file in files_to_recommend(each))]


def catalogue():
    """The folder of a dataset that is one: what recommends from it by default."""
    dataset = recommended()[0]
    if component_of(config, dataset) != "image_folder":
        return None
    given = options(config, "datasets", dataset)
    return {"path": given["path"], "labels": given["labels"]}


def recommend_input(wildcards):
    """What `needed` lists; what cannot be recommended ends Snakemake with one line before anything runs."""
    try:
        if not config["query"]:
            raise UserError("recommend for which pictures? Run: snakemake recommend --config query=photos/")
        files = needed()
        if not there_is(config["query"]):
            raise UserError(f"query {config['query']}: there is no such file or folder; correct the path")
    except UserError as error:
        refuse(error)
    return files


rule recommend:
    input:
        recommend_input,
    log:
        log_of("recommend"),
    threads: share(1)
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        results=RESULTS,
        query=lambda wildcards: config["query"],  # in a function, as its { and } would be wildcards
        options=config["recommend"],
        place=lambda wildcards: recommended()[:2],
        planned=lambda wildcards: planned(),
        trials=TRIALS,
        catalogue=lambda wildcards: catalogue(),
    script:
        "../scripts/recommend.py"
