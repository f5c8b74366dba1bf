"""The file of a config: YAML that is read whole or refused in one line, whatever it holds.

Light on purpose, as all of this folder: the profile reads a config file before Snakemake does.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from visrec.errors import UserError, has_control

LARGEST = 2**53  # of whole numbers: above, not every one is a float
MOST_BYTES = 2**20  # of a config file
MOST_VALUES = 100_000  # of a config
DEEPEST = 20  # a value in a config may be
SHOWN = 120  # characters of a value in a message
# What YAML 1.1 reads a word as, where it is no text.
READ_AS = {"null": "nothing", "bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}


def read(path: str | Path) -> Any:
    """What a config file holds, YAML in UTF-8.

    Raises:
        UserError: one line that names the file: it cannot be read, is in another encoding, is no YAML, is too large,
            nested too deep or repeats itself too often; or it is YAML that means something else than it seems to: a key
            that stands twice, of which YAML would keep the last, a key that is no text, 010 for 8, 1:30 for 90.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path}: is larger than {MOST_BYTES:,} bytes, so it is no config; name another file")
        text = content.decode("utf-8-sig")
        _bounded(path, text)
        for node, wrong in _misread(yaml.compose(text, yaml.SafeLoader)):
            raise UserError(f"{path}, line {node.start_mark.line + 1}: {wrong}")
        loaded = yaml.safe_load(text)
        if isinstance(loaded, Mapping):
            sound(loaded)
        return loaded
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not in UTF-8 (byte {error.start}); save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # the latter of tags: `!!bool x`
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{path}{line}: is not YAML ({short(reason)}); correct it") from error


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `--config` gave, with the truths, and inside lists and mappings the numbers, that Snakemake leaves as text.

    A text outside of them that looks like a number was in quotes, and stays one.
    """
    return {key: _typed(value, numbers=not isinstance(value, str)) for key, value in given.items()}


def _typed(value: Any, numbers: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _typed(each, numbers) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each, numbers) for each in value]
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for number in (int, float) if isinstance(value, str) and numbers else ():
        with suppress(ValueError):
            return number(value)
    return value


def _bounded(path: str | Path, text: str) -> None:
    """Refuse deep nesting, and more values than a config has, before anything builds them.

    What `*` repeats counts as often as it would stand there. A few lines can repeat a part, and a part of parts, up to
    any number, and merged keys (`<<`) are copied one by one.
    """
    inside: list[tuple[str | None, int]] = [(None, 0)]  # of each part that is open: its anchor, its values so far
    counts: dict[str | None, int] = {}
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, 1))
            if len(inside) > DEEPEST + 1:
                line = event.start_mark.line + 1
                raise UserError(f"{path}, line {line}: is nested more than {DEEPEST} deep; see config/README.md")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count = inside.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor, count = None, counts.get(event.anchor, 0)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, count = event.anchor, 1
        else:
            continue
        counts[anchor] = count
        inside[-1] = (inside[-1][0], inside[-1][1] + count)
        if inside[-1][1] > MOST_VALUES:
            line = event.start_mark.line + 1
            raise UserError(f"{path}, line {line}: has more than {MOST_VALUES:,} values; repeat no part of it by `*`")


def _misread(root: yaml.Node | None) -> Iterator[tuple[yaml.Node, str]]:
    """Keys and values that do not mean what they seem to, and why. What is repeated by `*` is looked at once."""
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names:
                        yield key, f"'{short(key.value)}' stands twice; give one of them another name"
                    names.add(key.value)
                    kind = READ_AS.get(key.tag.rpartition(":")[2])
                    if kind:
                        word = short(key.value)
                        yield key, f"YAML reads the key {word} as {kind}; write it in quotes, '{word}'"
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif node.tag.endswith((":int", ":float")) and re.fullmatch(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)", node.value):
            yield (
                node,
                f"YAML reads {short(node.value)} in base {60 if ':' in node.value else 8}; write the number itself",
            )


def sound(config: Mapping[str, Any]) -> None:
    """Refuse what no schema speaks of: keys that are no text, endless numbers, odd characters, depths and repetitions.

    A YAML file can name a part and repeat it, a part of parts and so on, in a few lines up to any size.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), config)]
    count = 0
    while waiting:
        path, value = waiting.pop()
        count += 1
        where = f"config: {short('.'.join(path))}: "
        if count > MOST_VALUES:
            raise UserError(f"config: has more than {MOST_VALUES:,} values; repeat no part of it by `*`")
        if len(path) > DEEPEST:
            raise UserError(f"{where}is nested more than {DEEPEST} deep; see config/README.md")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    kind = "nothing" if key is None else f"a {type(key).__name__}"
                    within = where if path else "config: "
                    raise UserError(f"{within}YAML reads the key {key} as {kind}; write it in quotes, '{key}'")
                if has_control(key):
                    raise UserError(f"{where}the key '{short(key)}' has a control character; remove it")
            waiting += [((*path, key), each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, str(row)), each) for row, each in enumerate(value)]
        elif isinstance(value, str) and has_control(value):
            raise UserError(f"{where}'{short(value)}' has a control character; remove it")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}{value} is no finite number; write one")
        elif isinstance(value, int) and abs(value) > LARGEST:
            raise UserError(f"{where}{short(value)} is too large; write a whole number below 2^53")


def short(value: object) -> str:
    """A value for a message, its middle left out if it is long."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]}...{text[-17:]}"
