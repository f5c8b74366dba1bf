"""The leaderboard in LaTeX, and the citation."""

import datetime
import math
from pathlib import Path

import yaml

from visrec.report.latex import CITATION, citation, escaped, leaderboard
from visrec.report.verdict import METRICS

ROOT = Path(__file__).parents[3]


def row(encoder, disclosed="", dimensions=4416, **scores):
    values = {f"{name}{end}": math.nan for name in METRICS for end in ("", "_low", "_high")}
    return values | scores | {"encoder": encoder, "disclosed": disclosed, "dimensions": dimensions}


def test_the_table_by_hand():
    scored = {"precision": 0.9787, "precision_low": 0.9627, "precision_high": 0.992}
    constants = {"labels": ["precision@3", "SVM accuracy"], "chance": ["10.0\N{NO-BREAK SPACE}%", "\N{EN DASH}"]}
    rows = [row("age_labels", "trained with labels", **scored), row("b", dimensions=0)]
    text = leaderboard([{"title": "digits, 32 px", "rows": rows, "constants": constants}])
    assert text.splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"Encoder & precision@3 & SVM accuracy & Dimensions \\",
        r"\midrule",
        r"age\_labels (trained with labels) & 97.9 [96.3, 99.2] & -- & -- & 4,416 \\",
        r"b & -- & -- & -- & -- \\",
        r"chance & 10.0 & -- &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_what_latex_minds_is_escaped():
    assert escaped("a_b & 5 % {x} \\y ~ ^ # $") == (
        r"a\_b \& 5 \% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \# \$"
    )


def test_the_citation_is_that_of_the_citation_file():
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {
        "title": known["title"],
        "author": known["authors"][0]["name"],
        "version": str(known["version"]),
    } == CITATION
    text = citation("my_demo", "abc1234", datetime.date(2026, 11, 27))
    assert "  title = {visrec: which image embedding recommends the right pictures?}," in text
    assert "  author = {{the visrec contributors}}," in text
    assert "  year = {2026}," in text
    assert r"  note = {Experiment my\_demo, commit abc1234, report of 2026-11-27}" in text
    assert "commit" not in citation("demo", None, datetime.date(2026, 11, 27))
