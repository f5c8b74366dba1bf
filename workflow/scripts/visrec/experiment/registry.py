"""Find datasets, encoders and evaluators by file name, and read what they declare without importing them.

One file is one component: `encoders/age.py` is the encoder `age` in the config, in paths, in tables and in plots.
A component declares what it needs in module-level constants in CAPITALS that are literals (numbers, strings, lists,
dicts). They are read from the source, so that the Snakefile, which every cluster job parses again, knows each encoder's
options without importing torch.
"""

import ast
import contextlib
import difflib
import functools
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from visrec.errors import UserError

PACKAGE = Path(__file__).parents[1]
KINDS = ("datasets", "encoders", "evaluators")
# Options that several encoders share stand once, as the literal OPTIONS of the file that uses them.
SHARED_OPTIONS = {
    "training": "training/loop.py",
    "views": "training/views.py",
    "body": "networks/bodies.py",
    "labels": "training/labels.py",
    "any_body": "networks/any_body.py",
    "stack": "networks/stack.py",
}
# A reading of every trained encoder that draws reconstructions, see `visrec.training.reconstruction`.
RECONSTRUCTION = {"reconstruction_error": {"title": "Reconstruction error on val", "from_zero": True}}


def names(kind: str) -> list[str]:
    """Names of all components of a kind ("datasets", "encoders" or "evaluators"), sorted."""
    return sorted(path.stem for path in (PACKAGE / kind).glob("*.py") if not path.stem.startswith("_"))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known name most like `name`, then all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def check(kind: str, name: str) -> None:
    """Raise `UserError` unless a component of this kind and name exists."""
    if name not in names(kind):
        raise UserError(f"no {kind.rstrip('s')} is called '{name}'; {nearest(name, names(kind))}")


@functools.cache
def declared(kind: str, name: str) -> dict[str, Any]:
    """The literal CAPITAL constants at the top level of a component's file, without importing it.

    An encoder's OPTIONS hold those that it shares with others, too: `OPTIONS_OF` names for each stage the groups
    (`SHARED_OPTIONS`), and `DEFAULTS` the defaults that are its own. A variant of another encoder names it, as `LIKE`,
    and declares what differs.

    Raises:
        UserError: there is no such component, it declares no OPTIONS, or it asks for options that there are not.
    """
    file = f"{kind}/{name}.py"
    constants = _stated(kind, name)
    if "OPTIONS" not in constants:
        raise UserError(f"{file}: OPTIONS must be there, as literals: it is read without being run")
    if "OPTIONS_OF" in constants:
        constants["OPTIONS"] = _with_shared(file, constants)
    if constants.get("STAGE") == "train":
        groups = [group for named in constants.get("OPTIONS_OF", {}).values() for group in named]
        missing = [f"OPTIONS_OF '{group}'" for group in ("training", "stack") if group not in groups]
        missing += [] if "READINGS" in constants else ["READINGS"]
        if missing:
            raise UserError(f"{file}: a trained encoder needs {' and '.join(missing)}, see docs/adding-an-encoder.md")
        if "reconstructions" in constants.get("PICTURES", ()):
            constants["READINGS"] = constants["READINGS"] | RECONSTRUCTION
    return constants


def _stated(kind: str, name: str) -> dict[str, Any]:
    """The literals of a component's file, for a variant laid over those of the component that it is LIKE."""
    check(kind, name)
    own = _literals(PACKAGE / f"{kind}/{name}.py")
    return _over(_stated(kind, own["LIKE"]), own) if "LIKE" in own else dict(own)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both together, dictionaries key by key; where both have a key, what is above holds."""
    merged = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _over(below[key], above[key])
    return merged


def _with_shared(file: str, constants: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """OPTIONS of all stages: the encoder's own, and those of the groups it names."""
    options = {stage: dict(own) for stage, own in constants["OPTIONS"].items()}
    for stage, groups in constants["OPTIONS_OF"].items():
        for group in groups:
            if group not in SHARED_OPTIONS:
                raise UserError(f"{file}: no options are shared as '{group}'; {nearest(group, SHARED_OPTIONS)}")
            for key, option in _literals(PACKAGE / SHARED_OPTIONS[group])["OPTIONS"].items():
                if any(key in known for known in options.values()):
                    raise UserError(f"{file}: option '{key}' is there twice, once of '{group}'; rename its own")
                options.setdefault(stage, {})[key] = dict(option)
    for key, default in constants.get("DEFAULTS", {}).items():
        known = [stage for stage in options.values() if key in stage]
        if not known:
            raise UserError(f"{file}: DEFAULTS: no option is called '{key}'")
        for stage in known:
            stage[key] = stage[key] | {"default": default}
    return options


@functools.cache
def _literals(path: Path) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if (
            isinstance(node, ast.Assign | ast.AnnAssign)
            and isinstance(targets[0], ast.Name)
            and targets[0].id.isupper()
        ):
            with contextlib.suppress(ValueError):  # not a literal, so private to the component
                constants[targets[0].id] = ast.literal_eval(node.value)
    return constants


def limits(encoder: str) -> dict[str, dict[str, Any]]:
    """Reading -> `healthy` and `collapse_below`, where declared: what of READINGS can change a training's status."""
    readings = declared("encoders", encoder)["READINGS"]
    judged = ("healthy", "collapse_below")
    found = {name: {key: about[key] for key in judged if key in about} for name, about in readings.items()}
    return {name: about for name, about in found.items() if about}


def is_trained(encoder: str) -> bool:
    """Whether an encoder is a network that rule train trains."""
    return declared("encoders", encoder).get("STAGE") == "train"


def roots_of(encoder: str, function: str) -> tuple[str, ...]:
    """What makes an encoder's features ("extractor") or maps ("maps"), as roots of code fingerprints."""
    if is_trained(encoder):
        return f"encoders.{encoder}:Training", f"training.models:{function}"
    return (f"encoders.{encoder}:{function}",)


def load(kind: str, name: str) -> ModuleType:
    """Import a component.

    Raises:
        UserError: there is no such component.
    """
    check(kind, name)
    return importlib.import_module(f"visrec.{kind}.{name}")
