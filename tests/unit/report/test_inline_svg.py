"""Figures as parts of the page: two looks become one."""

import re
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest
import report_fixture as fixture
from figures_fixture import look
from test_html import Page

from visrec.errors import UserError
from visrec.report import style
from visrec.report.figures import write
from visrec.report.figures.curves import curves
from visrec.report.inline_svg import Colours, figure

INK, GREY, MUTED = ("#1d1b19", "#ece8e1"), ("#6a655e", "#a8a29a"), ("#6a655e", "#a39d94")  # light, dark
FAMILY = "font-family: 'Helvetica Neue', sans-serif"


def svg(*inside):
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<?xml version="1.0"?>\n{head} viewBox="0 0 9 8" width="9pt" height="8pt">\n {" ".join(inside)}\n</svg>'


def text_of(colour, words="a &lt; b"):
    place = 'x="1.23456" y="2" transform="rotate(-0 1.23456 2)"'
    return f'<g id="text_1"><text style="font-size: 8px; {FAMILY}; fill: {colour}" {place}>{words}</text></g>'


def marks(colours, ids):
    """Markers at three places, by their ids, each id in a colour."""
    defined = "".join(f'<path id="{one}" style="stroke: {colour}"/>' for one, colour in colours.items())
    return svg(f"<defs>{defined}</defs>", *(f'<g id="l"><use xlink:href="#{one}" x="1"/></g>' for one in ids))


def merged(folder, light, dark, colours=None):
    (folder / "one.svg").write_text(light)
    (folder / "one-dark.svg").write_text(dark)
    return figure(folder, "one", "d1-one", colours or Colours(["random"]))


def test_two_looks_are_one_by_hand(tmp_path):
    cut = '<defs><clipPath id="{}"><rect x="0"/></clipPath></defs><path d="M0,0L1,1" clip-path="url(#{})"/>'
    about = '<metadata><a>b</a></metadata><defs><style type="text/css">*{stroke: red}</style></defs><g id="empty"/>'
    light, dark = (
        svg(about, text_of(INK[side]), cut.format(own, own), f'<path style="fill: {MUTED[side]}; opacity: 0.13"/>')
        for side, own in enumerate(("p1", "p2"))
    )
    found = merged(tmp_path, light, dark)
    assert found["box"] == {"viewBox": "0 0 9 8", "width": "9pt", "height": "8pt"}
    assert found["inside"] == (
        '<defs><clipPath id="d1-one-0"><rect x="0" /></clipPath></defs>'
        '<text style="font-size:8px;fill:var(--ink)" x="1.23" y="2">a &lt; b</text>'
        '<path d="M0,0L1,1" clip-path="url(#d1-one-0)" />'
        '<path style="fill:var(--muted);opacity:0.13" />'
    )


def test_colours_have_the_pages_names_and_further_ones_in_turn():
    colours = Colours(["age", "random", "pca"])
    assert colours[INK] == "--ink"
    assert [colours[MUTED], colours[GREY]] == ["--muted", "--e1"]  # alike where it is light
    assert colours[style.encoder_colours(["pca"])["pca"]] == "--e2"
    assert [colours["#000000", "#ffffff"], colours["#000000", "#fffffe"], colours["#000000", "#ffffff"]] == [
        "--f0", "--f1", "--f0",
    ]  # fmt: skip
    assert colours.further == {("#000000", "#ffffff"): "--f0", ("#000000", "#fffffe"): "--f1"}


def test_markers_alike_in_one_look_are_two(tmp_path):
    """As those of the legend and of the encoder `random`, whose greys are one where it is light."""
    light, dark = marks({"m": MUTED[0]}, "mmm"), marks({"a": GREY[1], "b": MUTED[1]}, "aba")
    inside = merged(tmp_path, light, dark)["inside"]
    assert re.findall(r'id="([^"]+)"', inside) == ["d1-one-0", "d1-one-1"]
    assert re.findall(r"var\((--\w+)\)", inside) == ["--e0", "--muted"]
    assert re.findall(r'href="#([^"]+)"', inside) == ["d1-one-0", "d1-one-1", "d1-one-0"]


@pytest.mark.parametrize(
    "dark",
    [
        svg(text_of(INK[1], "a &lt; c")),
        svg(text_of(INK[1]), text_of(INK[1])),
        svg(text_of(INK[1]).replace("8px", "9px")),
        svg(text_of(INK[1]).replace("1.23456", "1.3")),
        svg(text_of(INK[1]).replace("<text ", '<text class="other" ')),
        svg(text_of(INK[1]).replace("text>", "tspan>").replace("<text", "<tspan")),
        svg(text_of(INK[1]).replace("fill", "stroke")),
        svg(text_of(INK[1]).replace("; fill", "; opacity: 1; fill")),
    ],
)
def test_another_picture_is_an_error(tmp_path, dark):
    with pytest.raises(UserError, match=r"one\.svg: is not the same picture as one-dark\.svg; delete both"):
        merged(tmp_path, svg(text_of(INK[0])), dark)


def test_a_missing_or_damaged_file_is_an_error(tmp_path):
    for damage in ("", "<svg>", svg("&"), "\x00"):
        with pytest.raises(UserError, match=r"one-dark\.svg: is damaged .*; delete it and run again"):
            merged(tmp_path, svg(text_of(INK[0])), damage)
    with pytest.raises(UserError, match=r"two\.svg: figure is missing; run the rule figures"):
        figure(tmp_path, "two", "d1-two", Colours([]))


@pytest.fixture
def hostile(tmp_path):
    """Curves of a setting with a name from hell, as the page has them."""
    evil = '</title></svg><script>alert(1)</script><img src=x onerror="alert(1)">&amp;]]>'
    trial = fixture.changed(fixture.age(500, 10), {"kl": evil})
    trial = fixture.replace(trial, axes=("kl",), grid=("kl",))
    history = pd.DataFrame({"iteration": [1, 2, 3], "loss_encoder": [3.0, 2.0, 1.0]})
    for theme, end in zip(style.THEMES, ("", "-dark"), strict=True):
        with look(curves, [(trial, history)], {}, theme=theme, columns=4, width=10.6) as drawn:
            write._save(drawn, tmp_path / f"one{end}.svg")
    return evil, figure(tmp_path, "one", "d1-one", Colours(["age"]))["inside"]


def test_names_from_outside_stay_text(hostile):
    evil, inside = hostile
    page = Page(inside)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert tags <= {"defs", "g", "path", "use", "text", "title", "clippath", "rect"}
    titles = [element.text for element in ElementTree.fromstring(f"<svg>{inside}</svg>").iter("title")]
    assert titles
    assert all(evil in title for title in titles)
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
