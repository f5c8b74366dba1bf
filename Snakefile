"""visrec: which image embedding recommends the right pictures?

snakemake                                        everything the config asks for, up to the report
snakemake results/demo/digits/32px/pixels/seed~0/knn.csv      one file, and what it needs
snakemake --configfile my.yaml                   another experiment
"""

import functools
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

min_version("9.27")

sys.path.insert(0, f"{workflow.basedir}/workflow/scripts")

from visrec.recommender import choice
from visrec.experiment import layout, registry, trials
from visrec.experiment.config import archives, check, check_interpreter, component_of, options
from visrec.experiment.config_file import read, typed
from visrec.errors import UserError
from visrec.data.files import there_is
from visrec.jobs.fingerprint import fingerprint
from visrec.report import FIGURES, PROVENANCE, TABLES

# Only when no other config was given: Snakemake would merge the two, and the demo's digits leak into other grids.
if "datasets" not in config:
    try:
        read("config/config.yaml")  # before Snakemake does, whose errors have many lines
    except UserError as error:
        raise WorkflowError(str(error)) from None

    configfile: "config/config.yaml"


try:
    check_interpreter(sys.executable)
    for path in workflow.configfiles:
        read(path)
    update_config(config, typed(workflow.config_settings.config))
    config.update(check(config))
except UserError as error:
    raise WorkflowError(str(error)) from None


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/partial.smk"
include: "workflow/rules/recommend.smk"
include: "workflow/rules/start.smk"


rule all:
    default_target: True
    input:
        f"{RESULTS}/{layout.PAGE}",
        # What a trial's story consists of is asked for by name: of a deleted file that only an intermediate step
        # reads, Snakemake would say that nothing is to be done. Embeddings may be deleted to save space.
        rules.tables.input,
        rules.report.input,
    localrule: True


rule downloads:
    input:
        downloaded_files(),
    localrule: True
