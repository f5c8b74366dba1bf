"""Trials: what is trained or fitted once, and how it is named in paths.

A trial is (dataset, size, encoder, options, seed). Its folder name is readable and stable: the encoder's headline keys
always, then any other option whose value differs from the experiment's, then the seed, joined by `+`:
`lambda_z~1000+mu_x~10+seed~0`. A new axis of the grid therefore never renames old trials, and a trial that is on no
grid can be asked for by its name. (Not joined by a comma: that breaks Snakemake's remote jobs.)

Light on purpose (no torch, no pandas): imported while the Snakefile is parsed.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.config import check_size, combinations, encoder_options, grids
from visrec.experiment.config_file import LARGEST

MOST_SEED = 2**32 - 1  # that NumPy, scikit-learn and torch all take; the config's schema has it too
LONGEST = 200  # characters of a name: folders have 255, and logs add to it
LARGE = 1e15  # from here on numbers are written with an exponent


class Spec(NamedTuple):
    """What makes a model and its features, wherever they are kept.

    A tuple, since rules have it as a parameter: of parameters Snakemake compares those of built-in types, and passes
    over others in silence.

    Attributes:
        encoder: its name.
        options: of the encoder, those of the stages that matter.
        seed: of weights, noise and the order of the data.
    """

    encoder: str
    options: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        dataset: its name in the config.
        size: S, pixels.
        encoder: its name.
        options: every option of the encoder, defaults included.
        seed: of weights, noise and the order of the data.
        name: of its folder.
        axes: the options that were asked for, by the one grid in a list that gave it.
        grid: every option that stands on a grid of its encoder in this experiment.
    """

    dataset: str
    size: int
    encoder: str
    options: Mapping[str, Any]
    seed: int
    name: str
    axes: tuple[str, ...] = field(default=(), compare=False)  # it is the same trial on another grid
    grid: tuple[str, ...] = field(default=(), compare=False)

    @property
    def folder(self) -> str:
        """The trial's folder below results/{experiment}."""
        return f"{self.dataset}/{self.size}px/{self.encoder}/{self.name}"

    @property
    def declared(self) -> dict[str, Any]:
        """What its encoder declares, see docs/adding-an-encoder.md."""
        return registry.declared("encoders", self.encoder)

    @property
    def stage(self) -> str | None:
        """What makes its model: "train", "fit", or None for encoders that need neither."""
        return self.declared.get("STAGE")

    @property
    def headline(self) -> list[str]:
        """The options that always stand in its name."""
        return self.declared.get("HEADLINE", [])

    def spec(self, stage: str | None = None) -> Spec:
        """What makes its model, with the options of one stage, or its features, with all options."""
        return Spec(self.encoder, dict(self.options) if stage is None else self.options_of(stage), self.seed)

    def options_of(self, stage: str) -> dict[str, Any]:
        """The options that matter to one stage ("fit", "train" or "embed"): a change of others does not re-run it."""
        return {name: self.options[name] for name in self.declared["OPTIONS"].get(stage, {})}


def format_value(value: bool | int | float | str) -> str:
    """A value as it stands in a trial's name: 10, 0.5, 1e-05, reference, true."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGE:
        return str(int(value))
    return str(value).replace("e+", "e")  # `+` joins the parts of a name


def parse_value(text: str, option: Mapping[str, Any]) -> bool | int | float | str:
    """The inverse of `format_value`, by the option's declared type.

    Raises:
        UserError: the text is no such value.
    """
    kind = option.get("type", "string")
    try:
        if kind == "integer":
            value: bool | int | float | str = int(text.removesuffix(".0"))
            if abs(value) > LARGEST:
                raise ValueError(text)
        elif kind == "number":
            value = float(text)
            if not math.isfinite(value):
                raise ValueError(text)
            value = int(value) if value.is_integer() and abs(value) < LARGE else value
        elif kind == "boolean":
            value = {"true": True, "false": False}[text]
        else:
            value = text
    except (ValueError, KeyError) as error:
        raise UserError(f"'{text}' is not of type {kind}") from error
    if "enum" in option and value not in option["enum"]:
        raise UserError(f"'{text}' is unknown; {registry.nearest(text, map(str, option['enum']))}")
    if kind in ("integer", "number") and (
        not option.get("minimum", value) <= value <= option.get("maximum", value)
        or not option.get("exclusiveMinimum", -math.inf) < value < option.get("exclusiveMaximum", math.inf)
    ):
        raise UserError(f"'{text}' is outside what is allowed")
    return value


def base_options(config: Mapping[str, Any], dataset: str, encoder: str) -> dict[str, Any]:
    """An encoder's options in an experiment before any grid: declared defaults, the config's, the dataset's own."""
    given = config["encoders"].get(encoder, {})
    here = config["datasets"].get(dataset, {}).get("encoders", {})
    defaults = {name: option["default"] for name, option in encoder_options(encoder).items()}
    return defaults | {name: value for name, value in given.items() if name != "grid"} | here.get(encoder, {})


def make(config: Mapping[str, Any], dataset: str, size: int, encoder: str, chosen: Mapping, seed: int) -> Trial:
    """A trial from the options that differ from the experiment's (`chosen`) and a seed."""
    base = base_options(config, dataset, encoder)
    options = base | dict(chosen)
    headline = registry.declared("encoders", encoder).get("HEADLINE", ())
    named = [*headline, *(key for key in sorted(options) if key not in headline and options[key] != base[key])]
    name = "+".join([*(f"{key}~{format_value(options[key])}" for key in named), f"seed~{seed}"])
    if len(name) > LONGEST:
        raise UserError(
            f"encoders.{encoder}: a trial's name has {len(name)} characters and names a folder; set options that do "
            "not vary under the encoder, not on its grid"
        )
    return Trial(dataset, size, encoder, options, seed, name, tuple(chosen), _axes(config, encoder))


def parse(config: Mapping[str, Any], dataset: str, size: int, encoder: str, name: str) -> Trial:
    """The trial that a folder name stands for, whether or not it is on the config's grid.

    Raises:
        UserError: the name is not one that `make` would give, or the encoder has no such size.
    """
    known = encoder_options(encoder)
    chosen: dict[str, Any] = {}
    for part in name.split("+"):
        key, _, text = part.partition("~")
        if key != "seed" and key not in known:
            raise UserError(f"trial '{name}': unknown key '{key}'; {registry.nearest(key, [*known, 'seed'])}")
        try:
            chosen[key] = parse_value(text, known.get(key, {"type": "integer", "minimum": 0, "maximum": MOST_SEED}))
        except UserError as error:
            raise UserError(f"trial '{name}': {key}: {error}") from error
    check_size(encoder, size)
    seed = chosen.pop("seed", 0)
    if seed and not registry.declared("encoders", encoder).get("SEEDED", True):
        raise UserError(f"trial '{name}': encoder '{encoder}' takes no seed; its trial is 'seed~0'")
    trial = make(config, dataset, size, encoder, chosen, seed)
    if trial.name != name:
        raise UserError(f"trial '{name}' is written '{trial.name}' in experiment '{config.get('experiment')}'")
    return trial


def _axes(config: Mapping[str, Any], encoder: str) -> tuple[str, ...]:
    """Every option that stands on a grid of an encoder, in order of first appearance."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(grids(config, encoder))))


def grid(config: Mapping[str, Any]) -> list[Trial]:
    """Every trial the config asks for, in a stable order; one that several grids of an encoder give, once."""
    found: dict[str, Trial] = {}
    for dataset, size, encoder in combinations(config):
        seeds = config["seeds"] if registry.declared("encoders", encoder).get("SEEDED", True) else [0]
        for one in grids(config, encoder):
            for values, seed in itertools.product(itertools.product(*one.values()), seeds):
                trial = make(config, dataset, size, encoder, dict(zip(one, values, strict=True)), seed)
                found.setdefault(trial.folder, trial)
    return list(found.values())
