"""Tables with all that the evaluators measure, for the report's tests: written over the small ones of report_fixture.

Values follow from one number per encoder, so that a test can say what must stand where.
"""

import math

import pandas as pd

from visrec.experiment import layout
from visrec.report.inputs import ATLAS, SCORES, columns_of
from visrec.scoring import atlas, metrics
from visrec.scoring.protocols import PROTOCOLS

# encoder: precision@3 on test, headline space
LEVEL = {"pixels": 0.60, "random": 0.50, "pca": 0.62, "age": 0.61}
STEP = {"raw": 0.0, "standardised": 0.02, "blocks": 0.03, "whitened": -0.10, "l2": 0.0, "cosine": 0.01}
POOLINGS = ("flatten", "average", "max", "grid")


def row(metric, value, *, k=None, split="test", chance=0.1, half=0.02, n=100, majority=None, status="ok", **more):
    """A row of scores.csv but for whose it is."""
    known = not math.isnan(half)
    return {
        "evaluator": "knn",
        "protocol": "visrec",
        "metric": metric,
        "split": split,
        "k": k,
        "distance": "l2",
        "features": "raw",
        "average": "micro",
        "duplicates": "kept",
        "value": value,
        "low": value - half if known else math.nan,
        "high": value + half if known else math.nan,
        "n": n,
        "chance": chance,
        "majority": majority,
        "status": status,
    } | more


def knn(level, attributes=()):
    for split, less in (("train", 0.03), ("val", 0.01), ("test", 0.0)):
        for k in (1, 3, 5, 10):
            yield row("precision", level - less - (k - 3) / 500, k=k, split=split)
    for k in (1, 3, 5, 10):
        value = level - (k - 3) / 500
        yield row("hit", value + 0.2, k=k, chance=0.27)
        yield row("accuracy", value + 0.1, k=k, majority=0.12)
        yield row("accuracy_weighted", value + 0.11, k=k, majority=0.12)
        yield row("precision", value - 0.04, k=k, average="macro")
        yield row("accuracy", value + 0.05, k=k, average="macro", majority=0.1)
        yield row("precision", value - 0.005, k=k, duplicates="dropped")
        yield row("coverage", 0.3, k=k, chance=0.35, half=math.nan)
        yield row("gini", 0.8, k=k, chance=0.7, half=math.nan)
        yield row("hubness", 2.5, k=k, chance=0.9, half=math.nan)
        if k > 1:
            yield row("diversity", 0.25, k=k, chance=None)
    for metric, less, chance in (("r_precision", 0.2, 0.1), ("map_at_r", 0.3, 0.01), ("mrr", -0.1, 0.256)):
        yield row(metric, level - less, chance=chance)
        yield row(metric, level - less - 0.02, chance=chance, average="macro")
    for features in ("raw", "standardised", "blocks", "whitened"):
        for distance in ("l2", "cosine"):
            if (features, distance) != ("raw", "l2"):
                for split in ("val", "test"):
                    value = level + STEP[features] + STEP[distance]
                    yield row("precision", value, k=3, split=split, features=features, distance=distance)
    for name, protocol in PROTOCOLS.items():
        for metric in protocol.metrics:
            for split in protocol.splits:
                for k in (None,) if metric in ("r_precision", "map_at_r") else protocol.k:
                    about = {"k": k, "split": split, "protocol": name, "distance": protocol.distance}
                    if k == 200:
                        yield row(metric, math.nan, **about, status="fewer images than neighbours")
                    elif protocol.self_counted and split == "train":
                        yield row(metric, (1 + 2 * (level - 0.03)) / 3, **about, chance=0.4)
                    else:
                        yield row(metric, level - (0.03 if split == "train" else 0.0), **about)
    if attributes:
        for number, name in enumerate(attributes):
            yield row(f"precision of {name}", 0.5 + number / 100, k=3, chance=0.3)
        yield row("attribute_precision", 0.5, k=3, chance=0.3, average="macro")
        yield row("ndcg", 0.7, k=3, chance=0.5)
        yield row("identity_precision", 0.05, k=3, chance=0.001)


def probes(level):
    for evaluator, more in (("svm", 0.2), ("logistic", 0.21)):
        about = {"evaluator": evaluator, "distance": "", "features": "standardised"}
        for split, extra in (("train", 0.15), ("val", 0.0), ("test", 0.0)):
            yield row("accuracy", level + more + extra, split=split, majority=0.12, **about)
            yield row("accuracy", level + more + extra - 0.01, split=split, majority=0.1, average="macro", **about)
        yield row("chosen_C", 0.01, split="val", chance=None, half=math.nan, **about)
    about = {"evaluator": "svm", "distance": "", "features": "standardised"}
    yield row("accuracy_shuffled", 0.11, majority=0.12, **about)
    for name, draws in (("ali", 10), ("mteb", 5)):
        about = {"evaluator": "few_labels", "distance": "", "features": "standardised", "protocol": name, "n": draws}
        yield row("accuracy", level + 0.1, majority=0.12, **about)
        yield row("accuracy_sd", 0.013, chance=None, half=math.nan, **about)


def scores(trials, failed=(), attributes=()):
    """scores.csv of trials; those in `failed`, by (encoder, trial), collapsed."""
    found = []
    for one in trials:
        for each in (*knn(LEVEL[one.encoder], attributes), *probes(LEVEL[one.encoder])):
            if (one.encoder, one.name) in failed:
                each |= {"value": math.nan, "low": math.nan, "high": math.nan, "status": "collapsed"}
            found.append(columns_of(one, ATLAS) | each)
    table = pd.DataFrame(found)
    table["chance"] = table["chance"].astype(float)
    table["lift"] = metrics.lift(table["value"], table["chance"])
    return table[SCORES].astype({"k": "Int64"})


def atlas_rows(trials):
    """atlas.csv: three hidden layers, of which the second is best, averaged, and the third dominates the distance."""
    level = {"hidden1": 0.30, "hidden2": 0.45, "hidden3": 0.40, "output": 0.35}
    found = []
    for one in trials:
        for mode, less in (("running", 0.0), ("reestimated", 0.02)):
            rows = []
            for layer in ("hidden1", "hidden2", "hidden3"):
                for number, pooling in enumerate(POOLINGS):
                    if (layer, pooling) != ("hidden3", "grid"):
                        rows.append(("alone", pooling, layer, level[layer] - 0.03 * abs(number - 1)))
            rows.append(("output", "flatten", "output", level["output"]))
            every = "hidden1+hidden2+hidden3+output"
            for variant, pooling in (("hidden", "average"), ("stack", "average"), ("stack-max", "max")):
                rows.append((variant, pooling, every, 0.43))
            rows.append(("stack-grid", "grid", every, 0.44))
            for variant, pooling, layer, value in rows:
                share = {("hidden1", "average"): (0.02, 0.01), ("hidden2", "average"): (0.03, 0.04)}
                share |= {("hidden3", "flatten"): (0.92, 0.9), ("output", "flatten"): (0.03, 0.05)}
                about = share.get((layer, pooling), (math.nan, math.nan))
                wide = variant == "stack-grid"
                found.append(
                    columns_of(one, ATLAS)
                    | {"batchnorm": mode, "variant": variant, "pooling": pooling, "layers": layer, "dimensions": 4416}
                    | {"k": 3, "precision": value - less, "low": value - less - 0.015, "high": value - less + 0.015}
                    | {"n": 2000, "chance": 0.1, "lift": (value - less - 0.1) / 0.9}
                    | {"probe": math.nan if wide else value + 0.2, "probe_low": math.nan if wide else value + 0.17}
                    | {"probe_high": math.nan if wide else value + 0.23, "probe_n": 1000}
                    | {"share_of_dimensions": about[0], "share_of_distance": about[1]}
                    | {"note": "too wide for the probe" if wide else ""}
                )
    return pd.DataFrame(found, columns=["dataset", "size", "encoder", "trial", "seed", *atlas.COLUMNS])


def write_atlas(tables_dir, trials, values):
    """Write atlas.csv anew, with all its columns, for the trials that have an atlas and did not collapse."""
    rows = atlas_rows(
        [one for one in trials if layout.has_atlas(one.encoder, ["knn"]) and values[one.encoder, one.name]]
    )
    rows.to_csv(tables_dir / "atlas.csv", index=False)


def write_scores(tables_dir, trials, values, attributes=()):
    """Write scores.csv anew, with all scores; `values` as for `report_fixture.build`."""
    failed = {key for key, value in values.items() if value is None}
    scores(trials, failed, attributes).to_csv(tables_dir / "scores.csv", index=False)
