"""Fingerprints of code: what a stage's result depends on, so that exactly the stages a change touches run again.

Snakemake sees a script and its date. A fresh checkout changes every date and no result; an edit in a module that the
script imports changes results and no date it looks at. So each rule carries in its `params` a fingerprint of its script
and of every definition in visrec that the script reaches: functions, classes and constants, followed by name from
module to module. A function nobody reaches from there can change without re-running the stage.

Comments, docstrings and formatting do not count, nor do statements that only write to the log or move a progress bar,
nor the modules in `SILENT`, which cannot change a result. Nor does the file that a definition stands in: it may move.
Only `ast` and `hashlib` are used, in a form that is the same on Python 3.11 to 3.13.

Each fingerprint is kept beside Python's compiled files until any file of the package changes: every job on a cluster
asks for its own again, and the plan for those of all rules.

What cannot be seen: names looked up at run time. A component is loaded by its name, so rules name it as a further root.
And that a name now means another definition of exactly the same text, in another file (docs/decisions/0015).
"""

import ast
import functools
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SILENT = ("errors", "jobs", "experiment.registry", "training.symptoms")  # modules and whole wings
LOGGERS = {"log", "bar", "board"}


class _Statement:
    """A top-level statement; many walks ask for its text and its names, which are worked out once."""

    def __init__(self, node: ast.stmt) -> None:
        self.node = node

    @functools.cached_property
    def text(self) -> str:
        return _canonical(self.node)

    @functools.cached_property
    def names(self) -> set[tuple[str, str | None]]:
        """Every name in it, with the attribute that is taken of it: `low.used` is ("low", "used")."""
        found, nodes = set(), list(_nodes(self.node))
        attributes = {
            id(node.value): node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Name):
                found.add((node.id, attributes.get(id(node))))
        return found


@dataclass(frozen=True)
class _Module:
    """A parsed file: what each top-level name is defined by, what it imports, and statements that always run."""

    definitions: dict[str, list[_Statement]]
    imports: dict[str, tuple[str, str | None]]  # local name -> (visrec module, name in it or None for the module)
    outside: dict[str, str]  # local name -> what is imported from elsewhere
    always: list[_Statement]

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """Name -> digest of the text of its definition."""
        return {name: _hash("".join(each.text for each in found)) for name, found in self.definitions.items()}


def fingerprint(script: str | Path | None, *roots: str, files: Iterable[Path] = ()) -> str:
    """16 hex digits that change when code reached from a script, or from a root, changes.

    Args:
        script: the rule's script; None for roots alone.
        roots: further definitions that are loaded by name, as "encoders.age:train"; without a colon the whole module.
        files: other files that the code reads, such as templates, by content.
    """
    own = Path(script).read_bytes() if script else b""
    others = [file.read_bytes() for file in sorted(files)]
    asked = _hash(repr((own, sorted(set(roots)), others)))
    kept = _kept()
    if asked not in kept:
        digest = hashlib.sha256()
        for content in others:
            digest.update(content)
        for line in sorted(_Walk().follow(own, roots)):
            digest.update(line.encode())
            digest.update(b"\n")
        kept[asked] = digest.hexdigest()[:16]
        _keep(kept)
    return kept[asked]


def forget() -> None:
    """Read the package's files anew at the next call: within a process they are read once."""
    for cached in (_sources, _state, _kept, _parse):
        cached.cache_clear()


@functools.cache
def _sources() -> Mapping[str, bytes]:
    """Every module of visrec, "" for visrec itself -> its file. What is parsed and what is kept are of one moment."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").rstrip(".")] = path.read_bytes()
    return found


def _file_of_kept() -> Path:
    return Path(importlib.util.cache_from_source(str(PACKAGE / "fingerprints.py"))).with_suffix(".json")


@functools.cache
def _state() -> str:
    """Digest of all files of the package, this one among them."""
    return _hash(repr(sorted(_sources().items())))


@functools.cache
def _kept() -> dict[str, str]:
    """Digest of what is asked for -> fingerprint, as worked out before from the same files."""
    with suppress(OSError, ValueError, LookupError, TypeError):  # it is not there, or something else is
        read = json.loads(_file_of_kept().read_text(encoding="utf-8"))
        if read["files"] == _state():
            return read["fingerprints"]
    return {}


def _keep(kept: Mapping[str, str]) -> None:
    """Write them down. Of two processes at once one may lose what the other wrote: it is worked out again."""
    path = _file_of_kept()
    part = path.with_suffix(f".{os.getpid()}.part")
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # a folder that may not be written to, or a full disk
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"files": _state(), "fingerprints": kept}), encoding="utf-8")
            part.replace(path)


class _Walk:
    """One traversal; `seen` are the (module, name) pairs already followed."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.lines: set[str] = set()

    def follow(self, script: bytes, roots: Iterable[str]) -> set[str]:
        if script:
            parsed = _parsed(script)
            for name in parsed.definitions:
                self._definition("the script", parsed, name)
            self._always("the script", parsed)
        for root in roots:
            module, _, name = root.partition(":")
            self._name(module, name or None)
        return self.lines

    def _name(self, module: str, name: str | None) -> None:
        """Follow one name of a visrec module, or all of them when the module itself is handed around."""
        if _is_silent(module):
            return
        parsed = _parse(module)
        self._always(module, parsed)
        for each in [name] if name else parsed.definitions:
            self._definition(module, parsed, each)

    def _always(self, module: str, parsed: _Module) -> None:
        if (module, "") not in self.seen:
            self.seen.add((module, ""))
            for statement in parsed.always:
                self._statement(module, parsed, statement)

    def _definition(self, module: str, parsed: _Module, name: str) -> None:
        if (module, name) in self.seen:
            return
        self.seen.add((module, name))
        for statement in parsed.definitions.get(name, []):
            self._statement(module, parsed, statement)
        if name in parsed.imports:
            self._import(parsed, name, None)

    def _statement(self, module: str, parsed: _Module, statement: _Statement) -> None:
        """Follow the names in a statement. Its line holds its text and what each name of visrec in it stands for."""
        meant = set()
        for local, attribute in statement.names:
            if local in parsed.imports:
                source, name = self._import(parsed, local, attribute)
                meant.add(f"{local} {name} {_digest(source, name)}")
            elif local in parsed.outside:
                meant.add(f"{local} is {parsed.outside[local]}")
            elif local in parsed.definitions:
                self._definition(module, parsed, local)
                meant.add(f"{local} {parsed.digests[local]}")
        self.lines.add(" | ".join([statement.text, *sorted(meant)]))

    def _import(self, parsed: _Module, name: str, attribute: str | None) -> tuple[str, str | None]:
        """Follow an imported name; returns the module and the name in it that are meant."""
        module, imported = parsed.imports[name]
        self._name(module, imported or attribute)
        return module, imported or attribute


def _is_silent(module: str) -> bool:
    return any(module == silent or module.startswith(f"{silent}.") for silent in SILENT)


def _digest(module: str, name: str | None) -> str:
    """Of the text of one definition of a module; "" for a module that is handed around, and for silent ones."""
    if name is None or _is_silent(module):
        return ""
    return _parse(module).digests.get(name, NOTHING)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


NOTHING = _hash("")  # of a name that a module only imports


@functools.cache
def _parse(module: str) -> _Module:
    return _parsed(_sources()[module])


def _parsed(source: bytes) -> _Module:
    tree = ast.parse(source)
    parsed = _Module({}, {}, {}, [])
    for node in ast.walk(tree):  # imports inside functions count like those at the top
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                local = alias.asname or alias.name
                if node.module == "visrec" or (node.module or "").startswith("visrec."):
                    inside = node.module[len("visrec.") :]
                    submodule = f"{inside}.{alias.name}".lstrip(".")
                    is_module = submodule in _sources()
                    parsed.imports[local] = (submodule, None) if is_module else (inside, alias.name)
                else:
                    parsed.outside[local] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parsed.outside[alias.asname or alias.name.split(".")[0]] = alias.name
    for statement in _without_docstring(tree.body):
        wrapped = _Statement(statement)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parsed.definitions.setdefault(statement.name, []).append(wrapped)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for name in (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)):
                parsed.definitions.setdefault(name, []).append(wrapped)
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            parsed.always.append(wrapped)
    return parsed


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body


def _only_reports(statement: ast.AST) -> bool:
    """Whether a statement is a call like `log.info(...)` or `bar.update(...)`, which no result depends on."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Attribute)
        and isinstance(statement.value.func.value, ast.Name)
        and statement.value.func.value.id in LOGGERS
    )


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it but for statements that only report."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not _only_reports(child):
            yield from _nodes(child)


def _canonical(node: object) -> str:
    """A node as text. Not `ast.dump` or `ast.unparse`: what these print differs between versions of Python."""
    if isinstance(node, ast.AST):
        return f"{type(node).__name__}({','.join(_fields(node))})"
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    return repr(node)


def _fields(node: ast.AST) -> Iterator[str]:
    for name in sorted(node._fields):
        value = getattr(node, name, None)
        if name == "body" and isinstance(value, list):
            value = [each for each in _without_docstring(value) if not _only_reports(each)]
        # Empty fields come and go with Python's versions (type_params, kind); the context follows from the place.
        if value is not None and value != [] and name not in ("ctx", "kind", "type_comment"):
            yield f"{name}={_canonical(value)}"
