"""The section of layers: what each layer of one trial scores, from atlas.csv."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.report.verdict import missing, percent, span

VARIANTS = {
    "output": "output",
    "hidden": "paper’s stack without the output",
    "stack": "paper’s stack",
    "stack-max": "paper’s stack, maxima",
    "stack-grid": "all layers at 4 × 4",
}


def layers(rows: pd.DataFrame, batchnorm: str) -> dict[str, Any]:
    """What the layers of one trial score: all rows as text, and sentences no stronger than the intervals.

    Args:
        rows: the trial's rows of atlas.csv.
        batchnorm: the mode that the sentences are about: the one that the trial embeds with.
    """
    records = rows.to_dict("records")
    lines = [
        {
            "batchnorm": row["batchnorm"],
            "variant": variant_name(row),
            "dimensions": f"{int(row['dimensions']):,}",
            "precision": percent(row["precision"]),
            "span": span(row["low"], row["high"]),
            "lift": percent(row["lift"]),
            "probe": percent(row["probe"]),
            "probe_span": span(row["probe_low"], row["probe_high"]),
            "note": "" if missing(row["note"]) else row["note"],
            "share_of_dimensions": percent(row["share_of_dimensions"]),
            "share_of_distance": percent(row["share_of_distance"]),
        }
        for row in records
    ]
    here = [row for row in records if row["batchnorm"] == batchnorm] or records
    first = here[0]
    return {
        "rows": lines,
        "sentences": _sentences(here),
        "k": int(first["k"]),
        "n": int(first["n"]),
        "chance": percent(first["chance"]),
        "batchnorm": first["batchnorm"],
    }


def variant_name(row: Mapping[str, Any]) -> str:
    """The layers that a row of atlas.csv is about."""
    return VARIANTS.get(row["variant"], f"{row['layers']} ({row['pooling']})")


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which single layer scores highest, and which dominates the distance; rows of one batch norm mode."""
    single = [row for row in rows if row["variant"] in ("alone", "output")]
    if not single:
        return []
    best = max(single, key=lambda row: row["precision"])
    near = [row for row in single if row is not best and row["high"] >= best["low"]]
    sentence = f"Of the single layers {variant_name(best)} scores highest, {_alone(best)}"
    if near:
        word = "overlaps" if len(near) == 1 else "overlap"
        sentence += f"; {len(near)} of the other {len(single) - 1} intervals {word} its own, so which is best is open."
    else:
        sentence += ", with an interval above all others." if len(single) > 1 else "."
    sentences = [sentence]
    shared = [row for row in single if not missing(row["share_of_distance"])]
    if shared:
        loud = max(shared, key=lambda row: row["share_of_distance"])
        sentence = (
            f"In the paper’s stack {variant_name(loud)} has the largest say: {percent(loud['share_of_distance'])} of "
            f"the squared distance with {percent(loud['share_of_dimensions'])} of the values. "
        )
        if loud is best:
            sentence += "It is the layer that scores highest, too."
        elif loud["high"] < best["low"]:
            sentence += f"Alone it scores {_alone(loud)}: below the highest."
        else:
            sentence += f"Alone it scores {_alone(loud)}, and that overlaps with the highest."
        sentences.append(sentence)
    return sentences


def _alone(row: Mapping[str, Any]) -> str:
    return f"{percent(row['precision'])} {span(row['low'], row['high'])}"
