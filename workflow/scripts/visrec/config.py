"""The experiment's config: checked against the schema and against what the components declare.

Light on purpose (no torch, no pandas): imported while the Snakefile is parsed, which every cluster job does again.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from visrec import registry
from visrec.errors import UserError

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"
STAGES = ("fit", "train", "embed")


def encoder_options(encoder: str) -> dict[str, dict[str, Any]]:
    """All options of an encoder, of all its stages: name -> JSON Schema with `default` and `description`."""
    stages = registry.declared("encoders", encoder)["OPTIONS"]
    return {name: option for stage in STAGES for name, option in stages.get(stage, {}).items()}


def _closed(properties: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}


def _axis(option: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(option), "minItems": 1, "uniqueItems": True}


def schema() -> dict[str, Any]:
    """The JSON Schema of the config: `workflow/schemas/config.schema.yaml`, with every component found written in."""
    whole = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    encoders = {name: encoder_options(name) for name in registry.names("encoders")}
    dataset = whole["$defs"]["dataset"]
    dataset["properties"]["encoders"] = _closed({name: _closed(options) for name, options in encoders.items()})
    components = {
        "datasets": {
            name: _closed(
                {**registry.declared("datasets", name)["OPTIONS"], **dataset["properties"]},
                required=dataset["required"],
            )
            for name in registry.names("datasets")
        },
        "encoders": {
            name: _closed({**options, "grid": _closed({key: _axis(option) for key, option in options.items()})})
            for name, options in encoders.items()
        },
        "evaluators": {
            name: _closed(registry.declared("evaluators", name)["OPTIONS"]) for name in registry.names("evaluators")
        },
    }
    for kind, properties in components.items():
        whole["properties"][kind].update(_closed(properties))
    return whole


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a config that does not fit; return it with the defaults of `device`, `seeds` and `report` filled in.

    Raises:
        UserError: one line that names the key, what is wrong with it and the nearest valid name.
    """
    expected = schema()
    validator = jsonschema.Draft202012Validator(expected)
    error = min(validator.iter_errors(config), key=lambda error: list(map(str, error.absolute_path)), default=None)
    if error is not None:
        raise UserError(f"config: {_explain(error)}")
    for dataset, size, encoder in combinations(config):
        try:
            check_size(encoder, size)
        except UserError as error:
            raise UserError(f"config: datasets.{dataset}.sizes: {error}") from error
    keys = expected["properties"]
    defaults = {name: key["default"] for name, key in keys.items() if "default" in key}
    report = {name: key["default"] for name, key in keys["report"]["properties"].items()}
    return defaults | dict(config) | {"report": report | config.get("report", {})}


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    prefix = f"{where}: " if where else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = sorted(str(key) for key in error.instance if key not in known)[0]
        return f"{prefix}unknown key '{unknown}'; {registry.nearest(unknown, known)}"
    if error.validator == "enum":
        allowed = [str(value) for value in error.validator_value]
        return f"{prefix}unknown value '{error.instance}'; {registry.nearest(str(error.instance), allowed)}"
    if error.validator in ("anyOf", "oneOf") and error.context:
        return _explain(min(error.context, key=lambda inner: len(inner.message)))
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and re.fullmatch(r"\d+e[-+]?\d+", error.instance):
        hint = "; YAML reads it as text, write it with a point: " + error.instance.replace("e", ".0e")
    return prefix + error.message.replace("\n", " ") + hint


def check_size(encoder: str, size: int) -> None:
    """Refuse a size that an encoder does not have; most take any from 8 px."""
    sizes = registry.declared("encoders", encoder).get("SIZES")
    if sizes and size not in sizes:
        raise UserError(f"encoder '{encoder}' has no {size} px; it knows {', '.join(map(str, sizes))}")
    if size < 8:
        raise UserError(f"{size} px is too small; images have at least 8 px")


def combinations(config: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Every (dataset, size, encoder) the config asks for."""
    for dataset, keys in config["datasets"].items():
        for size in keys["sizes"]:
            for encoder in config["encoders"]:
                yield dataset, size, encoder


def options(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """A dataset's or an evaluator's options: what its file declares, overridden by the config."""
    declared = registry.declared(kind, name)["OPTIONS"]
    given = config[kind].get(name, {})
    return {key: given.get(key, option["default"]) for key, option in declared.items()}
