"""Fingerprints of code: what a stage's result depends on, so that exactly the stages a change touches run again.

Snakemake sees a script and its date. A fresh checkout changes every date and no result; an edit in a module that the
script imports changes results and no date it looks at. So each rule carries in its `params` a fingerprint of its script
and of every definition in visrec that the script reaches: functions, classes and constants, followed by name from
module to module. A function nobody reaches from there can change without re-running the stage.

Comments, docstrings and formatting do not count, nor do statements that only write to the log or move a progress bar,
nor the modules in `SILENT`, which cannot change a result. Nor does the file that a definition stands in: it may move.
Only `ast` and `hashlib` are used, in a form that is the same on Python 3.11 to 3.13.

What cannot be seen: names looked up at run time. A component is loaded by its name, so rules name it as a further root.
And that a name now means another definition of exactly the same text, in another file (docs/decisions/0015).
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SILENT = ("errors", "jobs", "experiment.registry", "training.symptoms")  # modules and whole wings
LOGGERS = {"log", "bar", "board"}


@dataclass(frozen=True)
class _Module:
    """A parsed file: what each top-level name is defined by, what it imports, and statements that always run."""

    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str | None]]  # local name -> (visrec module, name in it or None for the module)
    outside: dict[str, str]  # local name -> what is imported from elsewhere
    always: list[ast.stmt]


def fingerprint(script: str | Path | None, *roots: str, files: Iterable[Path] = ()) -> str:
    """16 hex digits that change when code reached from a script, or from a root, changes.

    Args:
        script: the rule's script; None for roots alone.
        roots: further definitions that are loaded by name, as "encoders.age:train"; without a colon the whole module.
        files: other files that the code reads, such as templates, by content.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    for line in sorted(_Walk().follow(Path(script) if script else None, roots)):
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


class _Walk:
    """One traversal; `seen` are the (module, name) pairs already followed."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.lines: set[str] = set()

    def follow(self, script: Path | None, roots: tuple[str, ...]) -> set[str]:
        if script:
            parsed = _parse(script)
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
        parsed = _parse(_path(module))
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

    def _statement(self, module: str, parsed: _Module, statement: ast.stmt) -> None:
        """Follow the names in a statement. Its line holds its text and what each name of visrec in it stands for."""
        attributes = {
            id(node.value): node.attr
            for node in _nodes(statement)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        meant = set()
        for node in _nodes(statement):
            if not isinstance(node, ast.Name):
                continue
            if node.id in parsed.imports:
                source, name = self._import(parsed, node.id, attributes.get(id(node)))
                meant.add(f"{node.id} {name} {_digest(source, name)}")
            elif node.id in parsed.outside:
                meant.add(f"{node.id} is {parsed.outside[node.id]}")
            elif node.id in parsed.definitions:
                self._definition(module, parsed, node.id)
                meant.add(f"{node.id} {_text(parsed, node.id)}")
        self.lines.add(" | ".join([_canonical(statement), *sorted(meant)]))

    def _import(self, parsed: _Module, name: str, attribute: str | None) -> tuple[str, str | None]:
        """Follow an imported name; returns the module and the name in it that are meant."""
        module, imported = parsed.imports[name]
        self._name(module, imported or attribute)
        return module, imported or attribute


def _is_silent(module: str) -> bool:
    return any(module == silent or module.startswith(f"{silent}.") for silent in SILENT)


def _digest(module: str, name: str | None) -> str:
    """Of the text of one definition of a module; "" for a module that is handed around, and for silent ones."""
    return "" if name is None or _is_silent(module) else _text(_parse(_path(module)), name)


def _text(parsed: _Module, name: str) -> str:
    text = "".join(_canonical(statement) for statement in parsed.definitions.get(name, []))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _path(module: str) -> Path:
    base = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@functools.cache
def _parse(path: Path) -> _Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parsed = _Module({}, {}, {}, [])
    for node in ast.walk(tree):  # imports inside functions count like those at the top
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                local = alias.asname or alias.name
                if node.module == "visrec" or (node.module or "").startswith("visrec."):
                    inside = node.module[len("visrec.") :]
                    submodule = f"{inside}.{alias.name}".lstrip(".")
                    is_module = _path(submodule).exists()
                    parsed.imports[local] = (submodule, None) if is_module else (inside, alias.name)
                else:
                    parsed.outside[local] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parsed.outside[alias.asname or alias.name.split(".")[0]] = alias.name
    for statement in _without_docstring(tree.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parsed.definitions.setdefault(statement.name, []).append(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for name in (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)):
                parsed.definitions.setdefault(name, []).append(statement)
        elif not isinstance(statement, ast.Import | ast.ImportFrom):
            parsed.always.append(statement)
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
