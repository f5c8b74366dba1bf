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

    Raises:
        UserError: there is no such component, or it declares no OPTIONS.
    """
    check(kind, name)
    tree = ast.parse((PACKAGE / kind / f"{name}.py").read_text(encoding="utf-8"))
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
    if "OPTIONS" not in constants:
        raise UserError(f"{kind}/{name}.py: OPTIONS must be there, as literals: it is read without being run")
    return constants


def load(kind: str, name: str) -> ModuleType:
    """Import a component.

    Raises:
        UserError: there is no such component.
    """
    check(kind, name)
    return importlib.import_module(f"visrec.{kind}.{name}")
