# Where everything is, and what the other rules share. Nothing heavy is imported here or in what is imported here: every
# cluster job parses the Snakefile again.

RESULTS = f"results/{config['experiment']}"
IMAGES = f"{RESULTS}/{{dataset}}/{{size}}px/images.h5"
TRIAL = f"{RESULTS}/{{dataset}}/{{size}}px/{{encoder}}/{{trial}}"
try:
    TRIALS = trials.grid(config)
except UserError as error:
    raise WorkflowError(str(error)) from None
EVALUATORS = list(config["evaluators"])
LADDER = os.path.relpath(f"{workflow.basedir}/docs/ladder.csv")


def names(kind, stage=None):
    """Alternatives for a wildcard: the components of a kind, or the encoders that have a stage."""
    found = [name for name in registry.names(kind) if stage in (None, registry.declared(kind, name).get("STAGE"))]
    return "|".join(found) or "(?!)"  # the latter matches nothing


def stated(*names):
    """What the config's encoders declare by these names, variants by those that they are LIKE: encoder -> name -> value.

    A page that prints it has it as a parameter, and so is made again when it changes.
    """
    declared = {name: registry.declared("encoders", name) for name in config["encoders"]}
    return {encoder: {name: about[name] for name in names if name in about} for encoder, about in declared.items()}


def refuse(error):
    """End Snakemake with one line: an exception from a rule's function would come out wrapped in a traceback."""
    sys.exit(f"error: {error}")


def trial(wildcards):
    """The trial a path stands for, whether or not it is on the config's grid; a misspelt one ends Snakemake."""
    try:
        return parsed(wildcards.dataset, int(wildcards.size), wildcards.encoder, wildcards.trial)
    except UserError as error:
        refuse(error)


@functools.cache
def parsed(*path):
    """A trial, once for the ten jobs and more that ask for it."""
    return trials.parse(config, *path)


@functools.cache
def code(rule_name, *roots, templates=""):
    """Fingerprint of a rule's script and of all the code it reaches: a parameter, so that a change re-runs the rule.

    Rules ask for it in a function, also where it needs no wildcards: a cluster job then computes its own rule's alone.
    """
    scripts = Path(workflow.basedir) / "workflow/scripts"
    files = (scripts / "visrec" / templates).iterdir() if templates else ()
    return fingerprint(scripts / f"{rule_name}.py", *roots, files=files)


def has_stage(trial, stage=None):
    """Whether a trial's encoder is made by a stage ("fit", "train"), or by any."""
    return trial.stage is not None and stage in (None, trial.stage)


def has_atlas(encoder):
    """Whether the layers of an encoder are scored one by one."""
    return layout.has_atlas(encoder, EVALUATORS)


def share(jobs):
    """Threads for each of some jobs that can run side by side: this machine's cores shared out, 8 at most.

    Two trainings with one thread each finish 1.2 times as fast as one after the other with two. A cluster's profile
    sets threads of its own.
    """
    return max(1, min(8, (workflow.cores or 1) // max(1, jobs)))


def log_of(rule_name, path=""):
    """The log of a rule's job."""
    return f"{RESULTS}/logs/{rule_name}{path}.log"


def benchmark_of(rule_name, path=""):
    """Time and memory of a rule's job, as Snakemake measured them."""
    return f"{RESULTS}/benchmarks/{rule_name}{path}.tsv"


def of_all_trials(names, *arguments):
    """Files of every trial on the grid; `names` is a function of `layout` that lists those of a trial."""
    return [f"{RESULTS}/{each.folder}/{name}" for each in TRIALS for name in names(each, *arguments)]


def of_all_images():
    """The images of every dataset and size."""
    return sorted({f"{RESULTS}/{layout.images(each.dataset, each.size)}" for each in TRIALS})


BELOW = "/{dataset}/{size}px/{encoder}/{trial}"

# Where embeddings are temporary, what reads them goes first: else most are made before the first is deleted.
READERS_PRIORITY = 0 if config["embeddings"]["keep"] else 1


wildcard_constraints:
    dataset="|".join(sorted({*registry.names("datasets"), *config["datasets"]})),
    size=r"\d+",
    encoder=names("encoders"),
    evaluator=names("evaluators"),
    trial=r"[A-Za-z0-9_~+.\-]+",
