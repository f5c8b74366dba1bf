"""The experiment's config: checked against the schema and against what the components declare.

Light on purpose (no torch, no pandas): imported while the Snakefile is parsed, which every cluster job does again.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.config_file import short, sound

if TYPE_CHECKING:
    import jsonschema

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"
STAGES = ("fit", "train", "embed")
MOST_TRIALS = 10_000  # of an experiment: Snakemake plans some ten jobs for each
MOST_SIZE = 1024  # pixels of a side
NO_BRACES = r"^[^{}]*\Z"  # in the schema, of files that are inputs of rules
SECTIONS = ("checkpoints", "embeddings", "atlas", "selection", "report", "recommend")


def check_interpreter(path: str) -> None:
    """Refuse a Python whose path a shell would take apart: Snakemake starts jobs by it, without quotes.

    Raises:
        UserError: the path has a space, a quote or another character of the shell.
    """
    odd = re.search(r"[\s'\"$&;()<>|*?`\\!#\[\]{}]", path)
    if odd:
        raise UserError(
            f"{path}: Snakemake starts no jobs by a Python whose path has '{odd[0]}'; move the checkout to a path "
            "without it, delete .venv and run make again"
        )


def encoder_options(encoder: str) -> dict[str, dict[str, Any]]:
    """All options of an encoder, of all its stages: name -> JSON Schema with `default` and `description`."""
    stages = registry.declared("encoders", encoder)["OPTIONS"]
    return {name: option for stage in STAGES for name, option in stages.get(stage, {}).items()}


def _closed(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}


def _axis(option: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(option), "minItems": 1, "uniqueItems": True}


def _grid(options: Mapping[str, Any]) -> dict[str, Any]:
    """One grid, or a list of them."""
    # What JSON Schema says of objects does not touch arrays, nor the other way round: with both in one schema, an error
    # speaks of the form that was written. Of `anyOf` it would say that neither fits.
    one = _closed({name: _axis(option) for name, option in options.items()})
    return {**one, "type": ["object", "array"], "items": one, "minItems": 1}


def component_of(config: Mapping[str, Any], dataset: str) -> str:
    """The file in `datasets/` that reads a dataset: its `kind`, or the one that has its name."""
    return config["datasets"].get(dataset, {}).get("kind", dataset)


def schema(datasets: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON Schema of the config: `workflow/schemas/config.schema.yaml`, with every component found written in.

    Args:
        datasets: further datasets of the config, name -> kind; such a name is the user's own.
    """
    whole = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    encoders = {name: encoder_options(name) for name in registry.names("encoders")}
    dataset = whole["$defs"]["dataset"]
    dataset["properties"]["encoders"] = _closed({name: _closed(options) for name, options in encoders.items()})
    archive = whole["$defs"]["archive"]

    def dataset_schema(kind: str) -> dict[str, Any]:
        declared = registry.declared("datasets", kind)
        keys = {**declared["OPTIONS"], **dataset["properties"]}
        if "ARCHIVES" in declared:
            files = dict.fromkeys(declared["ARCHIVES"], archive)
            keys["archives"] = _closed(files, description="Where archives are or come from, file by file.")
        return _closed(keys, required=dataset["required"])

    kinds = {name: name for name in registry.names("datasets")} | dict(datasets or {})
    components = {
        "datasets": {name: dataset_schema(kind) for name, kind in kinds.items()},
        "encoders": {name: _closed({**options, "grid": _grid(options)}) for name, options in encoders.items()},
        "evaluators": {
            name: _closed(registry.declared("evaluators", name)["OPTIONS"]) for name in registry.names("evaluators")
        },
    }
    for kind, properties in components.items():
        whole["properties"][kind].update(_closed(properties))
    return whole


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a config that does not fit; return it with the defaults of `device`, `seeds` and `SECTIONS` filled in.

    Raises:
        UserError: one line that names the key, what is wrong with it and the nearest valid name.
    """
    import jsonschema  # a tenth of a second; scripts check no config

    if not isinstance(config, Mapping):
        raise UserError("config: is empty or a list; it has keys such as `experiment`, see config/README.md")
    sound(config)
    own = {}
    datasets = config.get("datasets")
    for name, keys in datasets.items() if isinstance(datasets, Mapping) else ():
        if isinstance(keys, Mapping) and "kind" in keys:
            registry.check("datasets", str(keys["kind"]))
            if not re.fullmatch(r"\w{1,100}", str(name)):
                raise UserError(
                    f"config: datasets: name '{short(name)}' may have letters, digits and _ only, up to 100; it names "
                    "a folder"
                )
            own[str(name)] = str(keys["kind"])
    expected = schema(own)
    validator = jsonschema.Draft202012Validator(expected)
    error = min(validator.iter_errors(config), key=lambda error: list(map(str, error.absolute_path)), default=None)
    if error is not None:
        raise UserError(f"config: {_explain(error)}")
    for encoder in config["encoders"]:
        files = set(registry.declared("encoders", encoder).get("FILES", ())) & set().union(*grids(config, encoder))
        if files:
            raise UserError(
                f"config: encoders.{encoder}.grid: '{files.pop()}' names a file, and values of a grid become names of "
                "folders; make one experiment per file"
            )
        for key, values in (item for one in grids(config, encoder) for item in one.items()):
            text = next(
                (each for each in values if isinstance(each, str) and not re.fullmatch(r"[A-Za-z0-9_.\-]+", each)), None
            )
            if text is not None:
                raise UserError(
                    f"config: encoders.{encoder}.grid.{key}: '{text}' cannot be in the name of a folder, as values of "
                    "a grid are; they have letters, digits, `_`, `.` and `-` only"
                )
    count = _trials(config)
    if count > MOST_TRIALS:
        raise UserError(f"config: asks for {count:,} trials, {MOST_TRIALS:,} at most; shorten the grids, or `seeds`")
    for dataset, size, encoder in combinations(config):
        try:
            check_size(encoder, size)
        except UserError as error:
            raise UserError(f"config: datasets.{dataset}.sizes: {error}") from error
    config = _whole(config, expected)
    keys = expected["properties"]
    defaults = {name: key["default"] for name, key in keys.items() if "default" in key}
    checked = defaults | dict(config)
    for section in SECTIONS:
        inner = {name: key["default"] for name, key in keys[section]["properties"].items()}
        checked[section] = inner | config.get(section, {})
    return checked


def _whole(value: Any, expected: Mapping[str, Any]) -> Any:
    """The same with 100.0 as 100 wherever whole numbers are expected; JSON Schema takes it for one."""
    if isinstance(value, Mapping):
        inner = expected.get("properties", {})
        return {key: _whole(each, inner.get(key, {})) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each, expected.get("items", {})) for each in value]
    return int(value) if isinstance(value, float) and "integer" in expected.get("type", ()) else value


def _explain(error: "jsonschema.ValidationError") -> str:
    where = short(".".join(map(str, error.absolute_path)))
    prefix = f"{where}: " if where else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = sorted(str(key) for key in error.instance if key not in known)[0]
        return f"{prefix}unknown key '{short(unknown)}'; {registry.nearest(short(unknown), known)}"
    if error.validator == "enum":
        allowed = [str(value) for value in error.validator_value]
        given = short(error.instance)
        return f"{prefix}unknown value '{given}'; {registry.nearest(given, allowed)}"
    if error.validator in ("anyOf", "oneOf") and error.context:
        return _explain(min(error.context, key=lambda inner: len(inner.message)))
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and re.fullmatch(r"\d+e[-+]?\d+", error.instance):
        hint = "; YAML reads it as text, write it with a point: " + error.instance.replace("e", ".0e")
    if error.validator == "type" and error.validator_value == "string" and not isinstance(error.instance, str):
        number = isinstance(error.instance, int | float) and not isinstance(error.instance, bool)
        hint = "; YAML reads it so, write it in quotes" + (f": '{error.instance}'" if number else "")
        if where == "query":  # Snakemake reads 2024_05_12 as a number, [a] as a list
            hint = "; Snakemake reads it so, write a path that begins with ./ or /"
    if error.validator == "pattern" and error.validator_value == NO_BRACES:
        hint = "; Snakemake takes { and } for wildcards, rename it"
    message = error.message.replace(repr(error.instance), short(repr(error.instance)))
    return prefix + message.replace("\n", " ") + short(hint)


def check_size(encoder: str, size: int) -> None:
    """Refuse a size that an encoder does not have; most take any from 8 px."""
    sizes = registry.declared("encoders", encoder).get("SIZES")
    if sizes and size not in sizes:
        raise UserError(f"encoder '{encoder}' has no {size} px; it knows {', '.join(map(str, sizes))}")
    if not 8 <= size <= MOST_SIZE:
        raise UserError(f"{size} px is too {'small' if size < 8 else 'large'}; images have 8 to {MOST_SIZE} px")


def combinations(config: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Every (dataset, size, encoder) the config asks for."""
    for dataset, keys in config["datasets"].items():
        for size in keys["sizes"]:
            for encoder in config["encoders"]:
                yield dataset, size, encoder


def _trials(config: Mapping[str, Any]) -> int:
    """How many trials the grids and seeds come to, those that several grids give counted each time."""
    of_encoder = {
        encoder: sum(math.prod(map(len, one.values())) for one in grids(config, encoder))
        for encoder in config["encoders"]
    }
    return len(config.get("seeds", [0])) * sum(of_encoder[encoder] for _, _, encoder in combinations(config))


def grids(config: Mapping[str, Any], encoder: str) -> list[Mapping[str, list]]:
    """An encoder's grids, each option -> values, in the config's order; without any, one that sets nothing."""
    given = config["encoders"].get(encoder, {}).get("grid", {})
    return given if isinstance(given, list) else [given]


def options(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """A dataset's or an evaluator's options: what its file declares, overridden by the config."""
    component = component_of(config, name) if kind == "datasets" else name
    declared = registry.declared(kind, component)["OPTIONS"]
    given = config[kind].get(name, {})
    return {key: given.get(key, option["default"]) for key, option in declared.items()}


def archives(config: Mapping[str, Any], dataset: str) -> dict[str, dict[str, Any]]:
    """The archives of a dataset: file name -> path, url, checksum and bytes, as declared and as the config says.

    `path` is where the file already is, if the config says so: under the dataset's own `archives`, or found below the
    folder that the config's `archives` names, in a folder called like the component or directly. Else it is missing.
    A file with a `url` of the dataset's own is not looked for there.
    """
    component = component_of(config, dataset)
    given = config["datasets"].get(dataset, {}).get("archives", {})
    folder = config.get("archives", "")
    found = {}
    for name, declared in registry.declared("datasets", component).get("ARCHIVES", {}).items():
        found[name] = declared | given.get(name, {})
        if folder and not {"path", "url"} & given.get(name, {}).keys():
            places = [Path(folder) / component / name, Path(folder) / name]
            found[name]["path"] = str(next((place for place in places if place.exists()), places[0]))
    return found
