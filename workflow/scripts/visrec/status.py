"""How far an experiment is, one line per trial, read from its files: it submits nothing and touches no lock.

    python -m visrec.status --configfile config/paper.yaml

Light on purpose (no torch, no pandas): one wants to look often.
"""

import argparse
import csv
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from visrec import config as configs
from visrec import progress, registry, trials
from visrec.errors import UserError

COLUMNS = ("trial", "state", "progress", "left")


def table(config: Mapping[str, Any], results: Path) -> list[dict[str, str]]:
    """Trial, state, progress and time left, for every trial of the config, in its order.

    Args:
        config: checked.
        results: the experiment's folder.
    """
    return [{"trial": trial.folder, **_trial(config, results, trial)} for trial in trials.grid(config)]


def _trial(config: Mapping[str, Any], results: Path, trial: trials.Trial) -> dict[str, str]:
    folder = results / trial.folder
    stage = registry.declared("encoders", trial.encoder).get("STAGE")
    wanted = ["embeddings.h5", *(f"{name}.csv" for name in config["evaluators"])]
    there = [name for name in wanted if (folder / name).exists()]
    ended = _json(folder / "status.json").get("status", "ok")
    outcome = "" if ended == "ok" else f", {ended}"
    if set(wanted[1:]) <= set(there) and there:  # embeddings may be deleted once everything is scored
        return _row(f"done{outcome}")
    claim = _json(folder / "checkpoints/claim.json")
    if claim:
        since = _clock((folder / "checkpoints/claim.json").stat().st_mtime)
        gone = claim.get("host") == platform.node() and not psutil.pid_exists(int(claim.get("pid", -1)))
        state = f"stopped on {claim.get('host')}" if gone else f"training on {claim.get('host')} since {since}"
        return _row(state, *_progress(folder / "history.csv", trial.options, running=not gone))
    error = _last_error(results, trial)
    if error:
        return _row(error)
    scored = f"{len(there) - ('embeddings.h5' in there)} of {len(wanted) - 1} scores"
    if there:
        return _row(f"embedded{outcome}", scored)
    if stage and (folder / "status.json").exists():
        return _row(f"{'trained' if stage == 'train' else 'fitted'}{outcome}")
    return _row("waiting", *_progress(folder / "history.csv", trial.options, running=False))


def _row(state: str, progress: str = "", left: str = "") -> dict[str, str]:
    return {"state": state, "progress": progress, "left": left}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # not there, or being replaced on a file system that shows it
        return {}
    return found if isinstance(found, dict) else {}


def _progress(history: Path, options: Mapping[str, Any], running: bool) -> tuple[str, str]:
    """("5,469 of 6,250", "5 min") from the last row of history.csv."""
    try:
        with history.open(encoding="utf-8") as file:
            last = [*csv.DictReader(file)][-1]
        done, speed = int(last["iteration"]), float(last["images_per_second"])
        whole, batch = int(options["iterations"]), int(options["batch"])
    except (FileNotFoundError, IndexError, KeyError, ValueError):  # nothing was read yet, or another kind of training
        return "", ""
    left = progress.duration((whole - done) * batch / speed) if running and speed > 0 else ""
    return f"{done:,} of {whole:,}", left


def _last_error(results: Path, trial: trials.Trial) -> str:
    """The newest of the trial's logs that ends with an error, as "failed in RULE: last line"; "" if there is none."""
    logs = [*results.glob(f"logs/*/{trial.folder}.log"), *results.glob(f"logs/evaluate/{trial.folder}/*.log")]
    for log in sorted(logs, key=lambda path: path.stat().st_mtime, reverse=True):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and (lines[-1].startswith("error: ") or "Traceback (most recent call last):" in lines):
            rule = log.relative_to(results / "logs").parts[0]
            return f"failed in {rule}: {lines[-1].removeprefix('error: ')}"
    return ""


def _clock(seconds: float) -> str:
    when = time.localtime(seconds)
    today = time.localtime()[:3] == when[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", when)


def show(rows: Sequence[Mapping[str, str]]) -> str:
    """The table as text, and a line that counts."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}
    lines = ["  ".join(name.ljust(widths[name]) for name in COLUMNS).rstrip()]
    lines += ["  ".join(row[name].ljust(widths[name]) for name in COLUMNS).rstrip() for row in rows]
    done = sum(row["state"].startswith("done") for row in rows)
    failed = sum(row["state"].startswith("failed") for row in rows)
    return "\n".join([*lines, "", f"{done} of {len(rows)} trials done" + (f", {failed} failed" if failed else "")])


def main() -> None:
    """Print the table of an experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", default="config/config.yaml", help="(%(default)s)")
    parser.add_argument("--results", default="results", help="folder of all experiments (%(default)s)")
    given = parser.parse_args()
    try:
        config = configs.check(yaml.safe_load(Path(given.configfile).read_text(encoding="utf-8")))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    print(show(table(config, Path(given.results) / config["experiment"])))


if __name__ == "__main__":
    main()
