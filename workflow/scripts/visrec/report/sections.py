"""The tables of numbers in the report: which rows of the tables stand where, and as what text.

Everything here is of one dataset and size. A table is a list of groups, {title, note, rows}; a row has a label, one
cell per encoder, and what chance and the constant answer give. Cells are text, so that the page only prints them.
"""

import math
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from visrec.report.draws import HEADLINE, HEADLINE_KNN
from visrec.report.verdict import (
    METRICS,
    Score,
    compared,
    missing,
    percent,
    span,
)
from visrec.scoring.protocols import PROTOCOLS

Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # encoder -> the rows of scores.csv of its chosen trial
Found = Mapping[str, Mapping[str, Any] | None]  # encoder -> its row of one score

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
PAPER_K = 3

# (evaluator, metric): what it is called, at k neighbours where it has them
LABELS = {
    ("knn", "precision"): "precision@{k}",
    ("knn", "hit"): "hit@{k}",
    ("knn", "r_precision"): "R-precision",
    ("knn", "map_at_r"): "MAP@R",
    ("knn", "mrr"): "MRR",
    ("knn", "accuracy"): "k-NN accuracy@{k}",
    ("knn", "accuracy_weighted"): "k-NN accuracy@{k}, weighted",
    ("svm", "accuracy"): "SVM accuracy",
    ("logistic", "accuracy"): "logistic regression accuracy",
    ("svm", "accuracy_shuffled"): "SVM accuracy, labels shuffled (control)",
    ("knn", "attribute_precision"): "attribute precision@{k}, mean over attributes",
    ("knn", "ndcg"): "NDCG@{k} of shared attributes",
    ("knn", "identity_precision"): "identity precision@{k}",
    ("few_labels", "accuracy"): "accuracy, mean over draws of the labels",
}
RECOMMENDATION = [("knn", metric) for metric in ("precision", "hit", "r_precision", "map_at_r", "mrr")]
CLASSIFICATION = [("knn", "accuracy"), ("knn", "accuracy_weighted"), ("svm", "accuracy"), ("logistic", "accuracy")]
CLASSIFICATION += [("svm", "accuracy_shuffled")]
ATTRIBUTES = [("knn", metric) for metric in ("attribute_precision", "ndcg", "identity_precision")]
OF_ATTRIBUTE = "precision of "
HEALTH = {
    "coverage": "coverage of train, lists of {k}",
    "gini": "Gini index",
    "hubness": "hubness (skewness)",
    "diversity": "diversity inside a list",
}
NOT_SHOWN = {"chosen_C"}  # not a score

FEATURES = {
    "raw": "features as they are",
    "standardised": "each feature on one scale",
    "blocks": "each layer on one scale",
    "whitened": "whitened",
}
FEW_LABELS = {
    "ali": "ALI and DCGAN: linear SVM on some random labels of train, 1,000 by default; C chosen on validation",
    "mteb": "MTEB: logistic regression on some labels per class, 16 by default; C = 1",
}
SELECTORS = {
    "sliced_wasserstein": "sliced Wasserstein distance, samples to validation images",
    "fid_torchvision": "Fréchet distance of Inception features, samples to validation images",
    "reconstruction_error": "reconstruction error on validation",
    "rankme_output": "RankMe of the output",
    "rankme_stack": "RankMe of the stack",
    "hubness": "hubness on validation",
}
VARIANTS = {
    "output": "output",
    "hidden": "paper’s stack without the output",
    "stack": "paper’s stack",
    "stack-max": "paper’s stack, maxima",
    "stack-grid": "all layers at 4 × 4",
}


def of_chosen(scores: pd.DataFrame, shown: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each encoder's chosen trial.

    Args:
        scores: rows of scores.csv of one dataset and size, missing text as "".
        shown: encoder -> trial.
    """
    found = {}
    for encoder, trial in shown.items():
        rows = scores[(scores["encoder"] == encoder) & (scores["trial"] == trial)].to_dict("records")
        found[encoder] = [row | {"k": None if pd.isna(row["k"]) else int(row["k"])} for row in rows]
    return found


def pick(rows: Rows, evaluator: str, metric: str, k: int | None = None, split: str = "test", **more: str) -> Found:
    """Each encoder's row of one score; the headline's unless `more` says otherwise.

    Args:
        rows: from `of_chosen`.
        evaluator: that measured it.
        metric: its name.
        k: number of neighbours, or None.
        split: of the queries.
        more: other columns and their values. Under a protocol the space is its own, and not looked at.
    """
    wanted = {"evaluator": evaluator, "metric": metric, "k": k, "split": split} | HEADLINE
    wanted |= (HEADLINE_KNN if evaluator == "knn" and "protocol" not in more else {}) | more
    return {
        encoder: next((row for row in own if all(row[key] == value for key, value in wanted.items())), None)
        for encoder, own in rows.items()
    }


def decimal(value: float | None) -> str:
    """A number that is no share, "1.24"; a dash where there is none."""
    return DASH if missing(value) else f"{value:.2f}".replace("-", MINUS)


def cell(
    row: Mapping[str, Any] | None, words: Callable[[float | None], str] = percent, lifted: bool = True
) -> dict[str, str]:
    """Value, interval and lift of a score as text, and in `note` why there is none; `flag` is for what stands out."""
    text = dict.fromkeys(("value", "span", "lift", "note", "flag"), "")
    if row is None or missing(row["value"]):
        return text | {"value": DASH, "note": "" if row is None or row["status"] == "ok" else row["status"]}
    if lifted and not missing(row["lift"]):
        text["lift"] = f"lift {percent(round(row['lift'], 3) + 0.0)}".replace("-", MINUS)  # no "-0.0"
    if not (missing(row["low"]) or missing(row["high"])):
        shares = words is percent
        text["span"] = span(row["low"], row["high"]) if shares else f"[{words(row['low'])}, {words(row['high'])}]"
    return text | {"value": words(row["value"])}


def line(
    label: str,
    found: Found,
    encoders: Sequence[str],
    words: Callable[[float | None], str] = percent,
    lifted: bool = True,
) -> dict[str, Any] | None:
    """A row of a table; None where no encoder has this score.

    Args:
        label: what is measured.
        found: from `pick`.
        encoders: the columns.
        words: of a number.
        lifted: whether lifts are shown.
    """
    there = [row for row in found.values() if row is not None]
    if not there:
        return None
    constants = {
        name: next((words(row[name]) for row in there if not missing(row[name])), "") for name in ("chance", "majority")
    }
    return {"label": label, "cells": [cell(found.get(encoder), words, lifted) for encoder in encoders], **constants}


def group(title: str, rows: Iterable[dict[str, Any] | None], note: str = "") -> list[dict[str, Any]]:
    """A list of one group, of the rows that are there; of none if there are none."""
    kept = [row for row in rows if row is not None]
    return [{"title": title, "note": note, "rows": kept}] if kept else []


def named(evaluator: str, metric: str, k: int | None) -> str:
    """What a score is called."""
    label = LABELS.get((evaluator, metric), f"{evaluator}: {metric}" + ("@{k}" if k else ""))
    return label.format(k=k) if "{k}" in label else label


def _scores(rows: Rows, encoders: Sequence[str], names: Iterable[tuple[str, str]], k: int, **more: str) -> list:
    """Lines of some scores, at k where they have one."""
    lines = []
    for name in names:
        own = {"average": "macro"} if name[1] == "attribute_precision" else {}  # a mean over attributes by its nature
        found = pick(rows, *name, k if "{k}" in LABELS[name] else None, **own, **more)
        lines.append(line(named(*name, k), found, encoders))
    return lines


def all_scores(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """The tables of all test scores: {summary, groups}; the first is shown, the others are folded away."""
    ks = sorted({row["k"] for own in rows.values() for row in own if row["metric"] == "precision" and row["k"]})
    others = [other for other in ks if other != k]
    shown = [
        *group("Recommendation", _scores(rows, encoders, RECOMMENDATION, k)),
        *group("Classification", _scores(rows, encoders, CLASSIFICATION, k)),
        *group("Attributes and identity", _scores(rows, encoders, ATTRIBUTES, k)),
        *group("Other evaluators", _others(rows, encoders)),
    ]
    at_k = [name for name in (*RECOMMENDATION, *CLASSIFICATION, *ATTRIBUTES) if "{k}" in LABELS[name]]
    further = group("", [one for name in at_k for other in others for one in _scores(rows, encoders, [name], other)])
    macro = group("", _scores(rows, encoders, [*RECOMMENDATION, *CLASSIFICATION], k, average="macro"))
    attributes = dict.fromkeys(
        row["metric"] for own in rows.values() for row in own if row["metric"].startswith(OF_ATTRIBUTE)
    )
    single = group(
        "", [line(name.removeprefix(OF_ATTRIBUTE), pick(rows, "knn", name, k), encoders) for name in attributes]
    )
    tables = [
        ("", shown),
        (f"Macro averages: every class counts the same, at k = {k}", macro),
        (f"Other numbers of neighbours: k = {', '.join(map(str, others))}", further),
        (f"Precision@{k} of each attribute", single),
    ]
    return [{"summary": summary, "groups": groups} for summary, groups in tables if groups]


def has_attributes(rows: Rows) -> bool:
    """Whether images have attributes or identities that are scored."""
    metrics = {metric for _, metric in ATTRIBUTES}
    return any(row["metric"] in metrics for own in rows.values() for row in own)


def _others(rows: Rows, encoders: Sequence[str]) -> list[dict[str, Any] | None]:
    """Test scores of evaluators that this page knows nothing of."""
    known = {evaluator for evaluator, _ in LABELS}
    found = dict.fromkeys(
        (row["evaluator"], row["metric"], row["k"])
        for own in rows.values()
        for row in own
        if row["evaluator"] not in known and row["split"] == "test" and row["metric"] not in NOT_SHOWN
    )
    return [line(named(*name), pick(rows, *name), encoders) for name in found]


def spaces(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Precision by what is done to features and by distance; each encoder's best on validation is marked."""
    kinds = dict.fromkeys(
        (row["features"], row["distance"])
        for own in rows.values()
        for row in own
        if row["evaluator"] == "knn" and row["metric"] == "precision" and row["protocol"] == HEADLINE["protocol"]
    )
    scored = {}
    best: dict[str, tuple[float, Any]] = {}
    for features, distance in kinds:
        where = {"features": features, "distance": distance}
        scored[features, distance] = pick(rows, "knn", "precision", k, **where)
        for encoder, row in pick(rows, "knn", "precision", k, "val", **where).items():
            # Of equals the first counts: the headline, if it is among them.
            if row is not None and not missing(row["value"]) and row["value"] > best.get(encoder, (-1.0, None))[0]:
                best[encoder] = row["value"], (features, distance)
    lines = []
    for kind, found in scored.items():
        one = line(space(*kind), found, encoders)
        if one is not None:
            for encoder, each in zip(encoders, one["cells"], strict=True):
                if len(scored) > 1 and best.get(encoder, (0, None))[1] == kind:
                    each["flag"] = "★ best on validation"
            lines.append(one)
    return group("", lines)


def space(features: str, distance: str) -> str:
    """What is done to features, and the distance: "whitened, cosine"."""
    return f"{FEATURES.get(features, features)}, {distance.upper() if distance == 'l2' else distance}"


def leaks(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Precision with the query among its own neighbours, without it, and without its near duplicates."""
    counted = pick(rows, "knn", "precision", PAPER_K, "train", protocol="paper")
    left_out = pick(rows, "knn", "precision", PAPER_K, "train", protocol="leave-one-out")
    dropped = pick(rows, "knn", "precision", k, duplicates="dropped")
    lines = [
        line(f"train, precision@{PAPER_K}: the query counts itself", counted, encoders),
        line(f"train, precision@{PAPER_K}: the query is left out", left_out, encoders),
        line(f"test, precision@{k}", pick(rows, "knn", "precision", k), encoders),
        line(f"test, precision@{k}: without near duplicates of the query", dropped, encoders),
    ]
    return group("", lines)


def protocols(rows: Rows, encoders: Sequence[str]) -> list[dict[str, Any]]:
    """One group per protocol of others, with what it does."""
    about = {name: protocol.about for name, protocol in PROTOCOLS.items()} | FEW_LABELS
    found = dict.fromkeys(
        (row["protocol"], row["evaluator"], row["metric"], row["k"], row["split"])
        for own in rows.values()
        for row in own
        if row["protocol"] != HEADLINE["protocol"] and row["metric"] != "accuracy_sd"
    )
    order = [*about, *dict.fromkeys(name for name, *_ in found if name not in about)]
    groups = []
    for name in order:
        lines = []
        for protocol, evaluator, metric, k, split in found:
            if protocol != name:
                continue
            picked = pick(rows, evaluator, metric, k, split, protocol=protocol)
            one = line(f"{named(evaluator, metric, k)}; {split}", picked, encoders)
            spread = pick(rows, evaluator, "accuracy_sd", None, split, protocol=protocol)
            for encoder, each in zip(encoders, one["cells"], strict=True):
                row = spread.get(encoder)
                if row is not None and not missing(row["value"]):
                    each["note"] = f"sd {100 * row['value']:.1f} over {int(row['n'])} draws"
            lines.append(one)
        groups += group(name, lines, about.get(name, ""))
    return groups


def health(rows: Rows, encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """Whom the lists of all test queries recommend, beside what random lists would."""
    words = {"coverage": percent}
    lines = []
    for metric, label in HEALTH.items():
        found = pick(rows, "knn", metric, k)
        lines.append(line(label.format(k=k), found, encoders, words.get(metric, decimal), lifted=False))
    return group("", lines)


def overlaps(rows: pd.DataFrame) -> list[dict[str, str]]:
    """How alike the lists of different seeds are; rows of overlap.csv."""
    return [
        {
            "encoder": row["encoder"],
            "setting": row["setting"],
            "seeds": str(row["seeds"]),
            "k": str(row["k"]),
            "overlap": percent(row["overlap"]),
            "chance": percent(row["chance"]),
        }
        for row in rows.to_dict("records")
    ]


def points(value: float | None) -> str:
    """A difference of fractions in percentage points with its sign, "+1.3"; what rounds to 0 keeps its sign."""
    if missing(value):
        return DASH
    return "0.0" if value == 0 else f"{100 * value:+.1f}".replace("-", MINUS)


def duels(comparisons: Sequence[Mapping[str, Any]], encoders: Sequence[str], k: int) -> list[dict[str, Any]]:
    """One matrix per metric: what can be said of each encoder beside each other one, with the paired difference.

    Args:
        comparisons: rows of comparisons.csv.
        encoders: in the order of the leaderboard.
        k: the headline's number of neighbours.
    """
    tables = []
    for metric in dict.fromkeys(row["metric"] for row in comparisons):
        rows = []
        for a in encoders:
            cells = []
            for b in encoders:
                word, apart = ("", Score(*3 * [math.nan])) if a == b else compared(comparisons, a, b, metric)
                limits = f"[{points(apart.low)}, {points(apart.high)}]" if apart.measured else ""
                cells.append({"word": word, "value": points(apart.value), "span": limits})
            rows.append({"encoder": a, "cells": cells})
        tables.append({"metric": metric, "label": metric_name(metric, k), "encoders": list(encoders), "rows": rows})
    return tables


def metric_name(metric: str, k: int) -> str:
    """What a column of the leaderboard, or another name in comparisons.csv, is called."""
    return (METRICS | {"map_at_r": LABELS["knn", "map_at_r"]}).get(metric, metric).format(k=k)


def overall(rows: pd.DataFrame, k: int) -> list[dict[str, Any]]:
    """Means over datasets, one table per metric; rows of overall.csv."""
    return [
        {
            "label": metric_name(metric, k),
            "datasets": int(part["datasets"].iloc[0]),
            "rows": [
                {"encoder": row["encoder"], "value": percent(row["value"]), "span": span(row["low"], row["high"])}
                for row in part.to_dict("records")
            ],
        }
        for metric, part in rows.groupby("metric", sort=False)
    ]


def selection(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What each measure without labels would have chosen; rows of selection.csv."""
    found = []
    for row in rows.to_dict("records"):
        one, best = (
            {"value": percent(row[f"{prefix}precision"]), "span": span(row[f"{prefix}low"], row[f"{prefix}high"])}
            for prefix in ("", "best_")
        )
        if not missing(row["spearman"]):
            correlation = f"{row['spearman']:+.2f}".replace("-", MINUS)
        else:
            correlation = (
                "fewer than three settings" if row["settings"] < 3 else "undefined: one of the two is constant"
            )
        found.append(
            {
                "encoder": row["encoder"],
                "selector": SELECTORS.get(row["selector"], row["selector"]),
                "better": row["better"],
                "settings": int(row["settings"]),
                "correlation": correlation,
                "defined": not missing(row["spearman"]),
                "trial": row["trial"],
                "test": one,
                "best_trial": row["best_trial"],
                "best_test": best,
                "same": bool(row["trial"]) and row["trial"] == row["best_trial"],
            }
        )
    return found


def letters(rows: pd.DataFrame) -> dict[str, str]:
    """A letter for each measure without labels, in the order of selection.csv: {"sliced_wasserstein": "A", ...}."""
    return dict(zip(rows["selector"].unique(), string.ascii_uppercase, strict=False))


def chosen_without(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(encoder, trial) -> the letters of the measures that would choose it, "A C"; rows of selection.csv."""
    known, found = letters(rows), {}
    for row in rows[rows["trial"].fillna("") != ""].to_dict("records"):
        found.setdefault((row["encoder"], row["trial"]), []).append(known.get(row["selector"], row["selector"]))
    return {key: " ".join(several) for key, several in found.items()}


def atlas(rows: pd.DataFrame, batchnorm: str) -> dict[str, Any]:
    """What the layers of one trial score: all rows as text, and sentences no stronger than the intervals.

    Args:
        rows: the trial's rows of atlas.csv.
        batchnorm: the mode that the sentences are about, the one that the trial embeds with.
    """
    records = rows.to_dict("records")
    lines = [
        {
            "batchnorm": row["batchnorm"],
            "variant": variant_name(row),
            "dimensions": f"{int(row['dimensions']):,}".replace(",", "\N{THIN SPACE}"),
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
        "sentences": _atlas_sentences(here),
        "k": int(first["k"]),
        "n": int(first["n"]),
        "chance": percent(first["chance"]),
        "batchnorm": first["batchnorm"],
    }


def variant_name(row: Mapping[str, Any]) -> str:
    """What a row of atlas.csv is of, in words."""
    return VARIANTS.get(row["variant"], f"{row['layers']} ({row['pooling']})")


def _atlas_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
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
