"""Where each trial comes from: the command that makes it again, its spec, code, data, machine, time and memory.

What no file records is said to be not recorded. Nothing is taken from the machine that writes the report: a trial may
have been trained elsewhere, by another version of the code.
"""

import importlib.metadata
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from visrec.data.images import read_image_info
from visrec.experiment import layout
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.jobs import attempts
from visrec.report.headline import GROUP
from visrec.report.inputs import State, benchmark, columns_of, read_cost, read_status, summary_of_known
from visrec.report.leaderboard import amount
from visrec.report.verdict import duration, missing

PACKAGES = ("visrec", "torch", "scikit-learn", "numpy", "pandas", "h5py", "snakemake")
NOT_RECORDED = "not recorded"
MACHINE = ("host", "device", "precision", "threads", "torch", "commit")
COLUMNS = [*GROUP, "trial", "seed", "status", "reason", "options", "command", "images_fingerprint"]
COLUMNS += [f"{stage}_{key}" for stage in ("made", "embedded") for key in MACHINE]
COLUMNS += ["iterations", "made_seconds", "made_images_per_second", "embedded_seconds", "embedded_images_per_second"]
COLUMNS += ["jobs_seconds", "jobs_peak_memory_mb", "peak_gpu_memory_mb", "attempts", "failed_attempts", "last_log_line"]
LETTERS = 300  # of a log's line


def rows(experiment: Experiment, states: Mapping[str, State], configfiles: Sequence[str]) -> list[dict[str, Any]]:
    """One row per trial, with `COLUMNS` and, for the page, `costs` and `parameters`.

    `made_...` is of training or fitting, "" for encoders that need neither.

    Args:
        experiment: with all trials to be reported on.
        states: of each trial, by its folder, from `inputs.statuses`.
        configfiles: to be named in the commands.
    """
    fingerprints, found = {}, []
    for trial in experiment.trials:
        images = experiment.images(trial.dataset, trial.size)
        if images not in fingerprints:
            fingerprints[images] = read_image_info(images).fingerprint
        row = columns_of(trial, [*GROUP, "trial", "seed"]) | states[trial.folder]._asdict()
        row |= {
            "options": json.dumps(trial.options, sort_keys=True),
            "command": command(experiment, trial, configfiles),
            "images_fingerprint": fingerprints[images],
        }
        found.append(row | _made_and_embedded(experiment, trial) | _jobs(experiment, trial, row["status"]))
    return found


def _made_and_embedded(experiment: Experiment, trial: Trial) -> dict[str, Any]:
    """What status.json and embed.json say of a trial."""
    made, embedded = read_status(experiment, trial), read_cost(experiment, trial)
    gpu = [one["gpu_memory_mb"] for one in (made, embedded) if not missing(one.get("gpu_memory_mb"))]
    return {
        **{f"made_{key}": _told(made, key) if trial.stage else "" for key in MACHINE},
        **{f"embedded_{key}": _told(embedded, key) for key in MACHINE},
        "iterations": made.get("iterations"),
        "made_seconds": made.get("seconds"),
        "made_images_per_second": made.get("images_per_second"),
        "embedded_seconds": embedded.get("seconds"),
        "embedded_images_per_second": embedded.get("images_per_second"),
        "peak_gpu_memory_mb": summary_of_known(max, gpu),
        "parameters": made.get("parameters", {}),
    }


def _jobs(experiment: Experiment, trial: Trial, status: str) -> dict[str, Any]:
    """What benchmarks and logs say of the jobs of a trial."""
    costs, failed, number = {}, [], 0
    for rule, evaluator in layout.jobs(trial, experiment.evaluators):
        name = f"{rule} {evaluator}".strip()
        costs[name] = benchmark(experiment, rule, trial, evaluator)
        tries = attempts.read(experiment.log(rule, trial, evaluator))
        number += len(tries)
        failed += [failure(name, one) for one in tries if one.ended != "done"]
    said = last_line(experiment.log(trial.stage, trial)) if status != "ok" and trial.stage else ""
    return {
        "costs": costs,
        "jobs_seconds": summary_of_known(sum, (cost["s"] for cost in costs.values())),
        "jobs_peak_memory_mb": summary_of_known(max, (cost["max_rss"] for cost in costs.values())),
        "attempts": number or NOT_RECORDED,
        "failed_attempts": "; ".join(failed),
        "last_log_line": said,
    }


def command(experiment: Experiment, trial: Trial, configfiles: Sequence[str] = ()) -> str:
    """What makes a trial again, up to its first scores, where that is missing or out of date."""
    names = [*map(layout.scores, experiment.evaluators), layout.NEIGHBOURS]
    target = f"results/{experiment.name}/{trial.folder}/{names[0]}"
    return shlex.join(["snakemake", *(["--configfile", *configfiles, "--"] if configfiles else []), target])


def failure(job: str, attempt: attempts.Attempt) -> str:
    """An attempt that did not come to its end, in words."""
    said = {"failed": "failed: ", "stopped": "was stopped: "}
    how = said.get(attempt.ended, "was killed or still runs; its last line: ") + attempt.last
    return f"{job}, attempt {attempt.number} on {attempt.node} {how}"[:LETTERS]


def last_line(log_file: Path) -> str:
    """The last thing that a job's log says besides how long it took; "" without a log."""
    if not log_file.exists():
        return ""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((one for one in reversed(lines) if one.strip() and not one.startswith(attempts.DONE)), "")[:LETTERS]


def table(found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as provenance.csv has them: `COLUMNS`; text says `NOT_RECORDED` where a number is empty."""
    return pd.DataFrame([{key: row[key] for key in COLUMNS} for row in found], columns=COLUMNS)


def runs(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the page shows them."""
    lines = []
    for row in found:
        made, embedded = ({key: row[f"{stage}_{key}"] for key in MACHINE} for stage in ("made", "embedded"))
        gpu = row["peak_gpu_memory_mb"]
        lines.append(
            {key: row[key] for key in ("dataset", "size", "encoder", "trial", "status", "reason", "command")}
            | {"failed_attempts": row["failed_attempts"], "last_log_line": row["last_log_line"]}
            | {
                "name": f"{row['dataset']}, {row['size']} px, {row['encoder']}",
                "iterations": "" if missing(row["iterations"]) else amount(row["iterations"], "").strip(),
                "made": made if any(value not in ("", NOT_RECORDED) for value in made.values()) else None,
                "machine": _machine(made),
                "embedded": _machine(embedded),
                "seconds": "" if missing(row["made_seconds"]) else duration(row["made_seconds"]),
                "speed": _speed(row["made_images_per_second"]),
                "embedding": _speed(row["embedded_images_per_second"]),
                "memory": amount(row["jobs_peak_memory_mb"], "MB"),
                "gpu": "" if missing(gpu) or not gpu else f"GPU {amount(gpu, 'MB')}",
                "costs": [(name, duration(cost["s"])) for name, cost in row["costs"].items()],
                "attempts": row["attempts"],
                "parameters": row["parameters"],
                "options": ", ".join(f"{key} {value}" for key, value in json.loads(row["options"]).items()) or "none",
                "fingerprint": row["images_fingerprint"],
                "order": {
                    "iterations": row["iterations"],
                    "seconds": row["made_seconds"],
                    "speed": row["made_images_per_second"],
                    "memory": row["jobs_peak_memory_mb"],
                },
            }
        )
    return lines


def environment(found: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the trainings ran on and which commits embedded, each value once, and what the report is made with."""
    values: dict[str, dict[str, None]] = {"host": {}, "device": {}, "torch": {}, "commit": {}}
    for row in found:
        for key, seen in values.items():
            value = row[f"{'embedded' if key == 'commit' else 'made'}_{key}"]
            if value not in ("", NOT_RECORDED):
                seen[value] = None
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # visrec on the path without being installed
            continue
    return {f"{key}s": list(seen) for key, seen in values.items()} | {"report": versions}


def _told(about: Mapping[str, Any], key: str) -> str:
    return NOT_RECORDED if missing(about.get(key)) else str(about[key])


def _machine(about: Mapping[str, str]) -> str:
    """Where something ran, in a line; "not recorded" once for all that is not."""
    words = {"threads": "{} threads", "torch": "torch {}", "commit": "commit {}"}
    known = [words.get(key, "{}").format(value) for key, value in about.items() if value not in ("", NOT_RECORDED)]
    lacking = [key for key, value in about.items() if value == NOT_RECORDED]
    return ", ".join([*known, *([f"{' and '.join(lacking)} {NOT_RECORDED}"] if lacking else [])])


def _speed(value: float | None) -> str:
    return "" if missing(value) else amount(value, "img/s")
