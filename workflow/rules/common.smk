# Where everything is, and what the other rules share. Nothing heavy is imported here or in what is imported here: every
# cluster job parses the Snakefile again.

RESULTS = f"results/{config['experiment']}"
IMAGES = f"{RESULTS}/{{dataset}}/{{size}}px/images.h5"
TRIAL = f"{RESULTS}/{{dataset}}/{{size}}px/{{encoder}}/{{trial}}"
TRIALS = trials.grid(config)
LADDER = os.path.relpath(f"{workflow.basedir}/docs/ladder.csv")


def names(kind, stage=None):
    """Alternatives for a wildcard: the components of a kind, or the encoders that have a stage."""
    found = [name for name in registry.names(kind) if stage in (None, registry.declared(kind, name).get("STAGE"))]
    return "|".join(found) or "(?!)"  # the latter matches nothing


def trial(wildcards):
    """The trial a path stands for, whether or not it is on the config's grid."""
    where = wildcards.dataset, int(wildcards.size), wildcards.encoder
    try:
        return trials.parse(config, *where, wildcards.trial)
    except UserError as error:
        raise WorkflowError(str(error)) from None


for target in sys.argv[1:]:
    # A misspelt trial is refused here, in one line; from inside a rule's function Snakemake wraps it in a traceback.
    asked = re.match(rf"{re.escape(RESULTS)}/(\w+)/(\d+)px/({names('encoders')})/([^/]+)/", target)
    if asked:
        dataset, size, encoder, name = asked.groups()
        try:
            trials.parse(config, dataset, int(size), encoder, name)
        except UserError as error:
            raise WorkflowError(str(error)) from None


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
    declared = registry.declared("encoders", trial.encoder).get("STAGE")
    return declared is not None and stage in (None, declared)


def has_atlas(encoder):
    """Whether the layers of an encoder are scored one by one: if it has feature maps, and pictures have labels."""
    return bool(registry.declared("encoders", encoder).get("ATLAS") and config["evaluators"])


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


def of_all_trials(name):
    """One file of every trial on the grid."""
    return [f"{RESULTS}/{each.folder}/{name}" for each in TRIALS]


def trial_records():
    """The trials on the grid as plain data, for the tables, the figures and the report."""
    return [
        {
            "dataset": each.dataset,
            "size": each.size,
            "encoder": each.encoder,
            "trial": each.name,
            "seed": each.seed,
            "options": dict(each.options),
            "headline": each.headline,
            "grid": list(each.grid),
            "axes": list(each.axes),
            "stage": each.stage,
            "atlas": has_atlas(each.encoder),
        }
        for each in TRIALS
    ]


BELOW = "/{dataset}/{size}px/{encoder}/{trial}"

# Where embeddings are temporary, what reads them goes first: else most are made before the first is deleted.
READERS_PRIORITY = 0 if config["embeddings"]["keep"] else 1


wildcard_constraints:
    dataset="|".join(sorted({*registry.names("datasets"), *config["datasets"]})),
    size=r"\d+",
    encoder=names("encoders"),
    evaluator=names("evaluators"),
    trial=r"[A-Za-z0-9_~+.\-]+",
