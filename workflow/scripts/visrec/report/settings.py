"""Settings: what the seeds of one setting have in common, and how a setting is written for people.

Light on purpose: figures and tables both name settings.
"""

import json
from collections.abc import Iterable

from visrec.experiment.trials import Trial


def setting(trial: Trial) -> str:
    """What seeds of one setting have in common: the options, as text."""
    return json.dumps(trial.options, sort_keys=True)


def by_setting(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Trials of one dataset, size and encoder by setting: settings in the order given, their seeds ascending."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(setting(trial), []).append(trial)
    return {text: sorted(members, key=lambda trial: trial.seed) for text, members in found.items()}


def varied(trial: Trial) -> list[str]:
    """The options that may differ between trials of its encoder: headline keys, then the other axes of the grid."""
    return list(dict.fromkeys([*trial.headline, *trial.grid]))


def varied_names(trials: Iterable[Trial]) -> set[str]:
    """The columns of grid.csv that are options, of some encoder; their values are text or numbers."""
    return {name for trial in trials for name in varied(trial)}


def describe(trial: Trial) -> str:
    """A setting for people: "lambda_z 500, mu_x 10"; of a list of grids, what its own one does not set is left out."""
    return describe_options(trial, dict.fromkeys([*trial.headline, *trial.axes]))


def describe_options(trial: Trial, keys: Iterable[str]) -> str:
    """Some options with their values: "lambda_z 500, mu_x 10"."""
    return ", ".join(f"{key} {trial.options[key]}" for key in keys)
