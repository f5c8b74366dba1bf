"""The figures on the page: one inline SVG from the light and the dark look, in the colours of the page's CSS variables.

matplotlib draws each figure twice, and the two differ in their colours alone. So the page needs one of them: where the
two differ, it has a variable that is one colour in the light and another in the dark. As a part of the page its text is
found and read aloud.
"""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from markupsafe import Markup

from visrec.errors import UserError
from visrec.report import style

DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"  # what `figures.write` says of panels and curves
LEFT_OUT = ("metadata", "style", "defs")  # definitions follow what refers to them, styles are in charts.css
COLOUR = re.compile("#[0-9a-f]{6}")
REFERENCE = re.compile(r"url\(#(.+)\)")
FRACTION = re.compile(r"\d+\.\d\d+")
UPRIGHT = re.compile(r"rotate\(-?0 [^)]*\)")  # beside every text


class Colours:
    """CSS variables of pairs of colours: those that the page has by name, and further ones as figures need them.

    Attributes:
        further: pair (light, dark) -> variable, of the pairs that the page has no name for.
    """

    def __init__(self, encoders: Iterable[str]) -> None:
        self.named = {(pair["light"], pair["dark"]): name for name, pair in style.NAMED.items()}
        looks = style.looks(encoders)
        for number, encoder in enumerate(encoders):
            self.named.setdefault(looks[encoder][0], f"--e{number}")
        self.further: dict[style.Pair, str] = {}

    def __getitem__(self, pair: style.Pair) -> str:
        return self.named.get(pair) or self.further.setdefault(pair, f"--f{len(self.further)}")


def figure(folder: Path, stem: str, prefix: str, colours: Colours) -> dict[str, Any]:
    """A figure for the page.

    Args:
        folder: of the figures of one dataset and size.
        stem: of the figure's file, such as "curves" for curves.svg and curves-dark.svg.
        prefix: of its ids; no two figures of a page share one.
        colours: of the page; grows by those that it has no name for.

    Returns:
        `box`, the attributes viewBox, width and height of the svg element, and what is in it, `inside`.

    Raises:
        UserError: a file is missing or damaged, or the two are not the same picture.
    """
    light, dark = folder / f"{stem}.svg", folder / f"{stem}-dark.svg"
    looks = _read(light), _read(dark)
    try:
        inside = _Merge(looks, prefix, colours).inside()
    except (ValueError, KeyError) as error:
        raise UserError(f"{light}: is not the same picture as {dark.name}; delete both and run again") from error
    return {"box": {name: looks[0].get(name) for name in ("viewBox", "width", "height")}, "inside": inside}


def _read(path: Path) -> Element:
    if not path.exists():
        raise UserError(f"{path}: figure is missing; run the rule figures")
    try:
        return ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: is damaged ({error}); delete it and run again") from error


class _Merge:
    """Makes one picture of two looks of it; ValueError or KeyError where they differ in more than colours.

    What is defined once and referred to by id, such as markers, is made for each pair of ids: two markers may be alike
    in one look and differ in the other.
    """

    def __init__(self, looks: tuple[Element, Element], prefix: str, colours: Colours) -> None:
        self.looks, self.prefix, self.colours = looks, prefix, colours
        self.defined = [{each.get("id"): each for each in look.iter() if each.get("id")} for look in looks]
        self.ids: dict[tuple[str, ...], str] = {}  # of the two looks -> on the page
        self.definitions: list[Element] = []
        written = looks[0].findtext(DESCRIPTION)
        self.about = json.loads(written) if written else {}

    def inside(self) -> Markup:
        """What is in the svg element, as HTML has it: without namespaces."""
        drawn = [made for pair in _children(*self.looks) for made in self.merged(*pair)]
        if self.definitions:
            defs = Element("defs")
            defs.extend(self.definitions)
            drawn.insert(0, defs)
        return Markup("".join(ElementTree.tostring(one, encoding="unicode") for one in drawn))  # it escapes

    def merged(self, light: Element, dark: Element) -> list[Element]:
        """One element of two; of a group that says nothing, what is in it."""
        tag = _local(light.tag)
        if light.tag != dark.tag or (light.text or "").strip() != (dark.text or "").strip():
            raise ValueError("other elements")
        children = [made for pair in _children(light, dark) for made in self.merged(*pair)]
        attributes = self.attributes(light, dark)
        known = self.about.get(light.get("id"))
        if isinstance(known, str):  # a curve
            attributes["class"] = "curve"
            children.insert(0, Element("title"))
            children[0].text = known
        elif known:
            attributes |= {"class": "panel", "data-panel": json.dumps(known, ensure_ascii=False)}
        if tag == "g" and not (attributes and children):
            return children
        made = Element(tag, attributes)
        made.text = light.text if tag in ("text", "tspan") else None
        made.extend(children)
        return [made]

    def attributes(self, light: Element, dark: Element) -> dict[str, str]:
        """The attributes of two elements as those of one, without ids."""
        ours, theirs = (
            {_local(name): value for name, value in each.attrib.items() if name != "id"} for each in (light, dark)
        )
        if list(ours) != list(theirs):
            raise ValueError("other attributes")
        found = {}
        for name, value in ours.items():
            other = theirs[name]
            if name == "style":
                found[name] = ";".join(f"{key}:{one}" for key, one in self.declared(value, other))
            elif name == "href":
                found[name] = f"#{self.reference(value[1:], other[1:])}"
            else:
                found[name] = _short(name, self.value(value, other))
        return {name: value for name, value in found.items() if value}

    def declared(self, light: str, dark: str) -> Iterator[tuple[str, str]]:
        """The CSS declarations of two style attributes as those of one; the font's family is the page's to say."""
        for pair in zip(light.split(";"), dark.split(";"), strict=True):
            (name, _, one), (other_name, _, other) = (each.strip().partition(": ") for each in pair)
            if name != other_name:
                raise ValueError("other styles")
            if name and name != "font-family":
                yield name, self.value(one, other)

    def value(self, light: str, dark: str) -> str:
        """One value of two."""
        references = [REFERENCE.fullmatch(each) for each in (light, dark)]
        if all(references):
            return f"url(#{self.reference(*(each[1] for each in references))})"
        if light == dark:
            return light
        if all(COLOUR.fullmatch(each) for each in (light, dark)):
            return f"var({self.colours[light, dark]})"
        raise ValueError("other values")

    def reference(self, *ids: str) -> str:
        """The id on the page of what has these ids in the two looks."""
        if ids not in self.ids:
            self.ids[ids] = f"{self.prefix}-{len(self.ids)}"
            (made,) = self.merged(*(own[each] for own, each in zip(self.defined, ids, strict=True)))
            made.set("id", self.ids[ids])
            self.definitions.append(made)
        return self.ids[ids]


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _children(light: Element, dark: Element) -> Iterator[tuple[Element, Element]]:
    """Pairs of the children that are drawn."""
    drawn = ([child for child in parent if _local(child.tag) not in LEFT_OUT] for parent in (light, dark))
    return zip(*drawn, strict=True)


def _short(name: str, value: str) -> str:
    """An attribute with its numbers in hundredths of a point; a path's are short already. "" if it says nothing."""
    if name not in ("x", "y", "transform"):
        return value
    return FRACTION.sub(lambda number: f"{float(number[0]):.2f}", UPRIGHT.sub("", value).strip())
