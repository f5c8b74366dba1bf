"""A small results folder with everything the report reads, made without training: digits, enlarged."""

import atexit
import csv
import functools
import math
import pickle
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from visrec.data import duplicates
from visrec.data.embeddings import write_embeddings
from visrec.data.files import write_json
from visrec.data.images import ImageSet, ImageSource, read_images, write_images
from visrec.data.query_scores import write_query_scores
from visrec.experiment import layout, registry
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.scoring import atlas, layers

CLASSES = [*"012345678", '<script>alert(1)</script>"']  # a class name from hell stands for the digit 9
HISTORY = [
    "iteration",
    "learning_rate",
    "loss_encoder",
    "loss_generator",
    "latent_cosine",
    "kl_real",
    "kl_fake",
    "kl_exact_real",
    "kl_exact_fake",
    "fake_weight",
    "reconstruction_error",
    "kl_real_ratio",
    "kl_fake_ratio",
    "pixel_match",
    "latent_match",
    "variance_min",
    "variance_mean",
    "variance_max",
    "fake_variance_mean",
    "mean_norm",
    "sample_spread",
    "images_per_second",
]
KEYS = ["protocol", "metric", "split", "k", "distance", "features", "average", "duplicates"]
SCORE = [*KEYS, "value", "low", "high", "n", "chance", "majority", "status"]
QUERIES = 100  # in val and in test
EVALUATORS = ["knn", "svm"]
HALF = 0.01  # half-width of every interval over queries
# Where an encoder's scores stand in their wave over the queries: a third of a turn apart, so that no two encoders have
# scores that rise and fall together, and differences are as wide as those of separate samples and somewhat more.
PHASES = {"pixels": 0, "random": 0, "pca": 1 / 3}
BENCHMARK = ["s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load", "cpu_time"]

digits = functools.cache(load_digits)  # for every training's pictures


def trial(encoder, options, *, seed=0, grid=(), axes=None, named=(), dataset="digits", size=16):
    """A trial on one grid; with `axes`, on one with these axes in a list of grids, none of them at its own value."""
    axes = tuple(grid if axes is None else axes)
    headline = [*registry.declared("encoders", encoder).get("HEADLINE", ()), *named]
    keys = [*headline, *(sorted(set(axes) - set(headline)) if axes != tuple(grid) else ())]
    name = "+".join([*(f"{key}~{options[key]}" for key in keys if key in options), f"seed~{seed}"])
    return Trial(dataset, size, encoder, options, seed, name, axes, tuple(grid))


def changed(one, options, **more):
    """A trial with some other options, which its name says."""
    name = "+".join([one.name, *(f"{key}~{value}" for key, value in options.items())])
    return replace(one, **{"options": one.options | options, "name": name} | more)


def age(lambda_z, mu_x, seed=0, **more):
    options = {"lambda_z": lambda_z, "mu_x": mu_x, "latent": 128, "kl": "reference", "batch": 64}
    return trial("age", options, seed=seed, grid=["lambda_z", "mu_x"], **more)


def one_at_a_time(seeds=(0,)):
    """Trials of AGE as from a list of grids that changes one thing at a time, the first of them nothing."""
    own = {"lambda_z": 1000, "mu_x": 10, "latent": 128, "kl": "reference", "batch": 64}
    changes = {}, {"kl": "exact"}, {"lambda_z": 500}, {"lambda_z": 2000}, {"mu_x": 50}, {"latent": 64}
    grid = ["kl", "lambda_z", "mu_x", "latent"]
    return [trial("age", own | one, axes=list(one), seed=seed, grid=grid) for one in changes for seed in seeds]


def standard_trials(**more):
    """Pixels, random, pca and four trials of AGE."""
    return [
        trial("pixels", {}, **more),
        trial("random", {"latent": 128}, **more),
        trial("pca", {"components": 128}, **more),
        age(500, 10, **more),
        age(1000, 10, **more),
        age(500, 50, **more),
        age(1000, 50, **more),
    ]


# (precision val, precision test, k-NN accuracy test, SVM accuracy test)
STANDARD = {
    ("pixels", "seed~0"): (0.975, 0.973, 0.981, 0.952),
    ("random", "seed~0"): (0.930, 0.928, 0.951, 0.940),
    ("pca", "seed~0"): (0.976, 0.975, 0.984, 0.957),
    # Best on validation but not on test: choosing on test would show here.
    ("age", "lambda_z~500+mu_x~10+seed~0"): (0.968, 0.960, 0.972, 0.962),
    ("age", "lambda_z~1000+mu_x~10+seed~0"): (0.962, 0.969, 0.978, 0.966),
    ("age", "lambda_z~500+mu_x~50+seed~0"): (0.955, 0.951, 0.967, 0.958),
    ("age", "lambda_z~1000+mu_x~50+seed~0"): None,
}
REASON = "the latents of generated images have 0.0041 of the healthy variance at iteration 240"


BUILT: dict[bytes, Path] = {}  # what was asked for -> where it is: many tests begin with the same results


def experiment(results, trials, evaluators=EVALUATORS):
    """What `build` wrote, as the tables and the report take it."""
    return Experiment(Path(results), trials, evaluators)


def build(root, trials, values, *, reasons=None, queries=4):
    """Write results/{experiment} below `root` and return its path.

    Args:
        root: where.
        trials: from `trial` or `age`.
        values: (encoder, trial) -> four numbers as in STANDARD, or None for a trial that collapsed.
        reasons: (encoder, trial) -> why it collapsed.
        queries: number of queries in neighbours.csv.
    """
    results = Path(root) / "results" / "demo"
    key = pickle.dumps((trials, values, reasons, queries))
    if key not in BUILT:
        made = Path(tempfile.mkdtemp(prefix="visrec-report-"))
        atexit.register(shutil.rmtree, made)
        _build(made, trials, values, reasons or {}, queries)
        BUILT[key] = made
    shutil.copytree(BUILT[key], results, dirs_exist_ok=True)
    return results


def _build(results, trials, values, reasons, queries):
    for dataset, size in dict.fromkeys((one.dataset, one.size) for one in trials):
        images(results / dataset / f"{size}px" / "images.h5", size)
    for number, one in enumerate(trials):
        reason = reasons.get((one.encoder, one.name), REASON)
        write_trial(results, one, values[one.encoder, one.name], number, reason, queries)


# Test images 5 and 6 have near duplicates in train, and 5 an exact one; images 3 and 4 of train are alike.
DUPLICATES = np.array(
    [(0, 0, 2, 5, 1.0), (0, 1, 2, 5, 0.97), (0, 1, 2, 6, 0.97), (0, 3, 0, 4, 1.0)], dtype=duplicates.PAIR
)


def images(path, size):
    data = digits()
    small = np.stack(
        [
            np.asarray(Image.fromarray((one * 15.9).astype(np.uint8)).resize((size, size), 2))
            for one in data.images[:500]
        ]
    )
    pictures = np.repeat(small[:, None], 3, axis=1)
    # ids follow the split
    parts = {"train": slice(0, 300), "val": slice(300, 400), "test": slice(400, 500)}
    write_images(
        path,
        ImageSet(
            {
                split: ImageSource(
                    [pictures[rows]],
                    data.target[rows],
                    np.array([f"digit-{number}" for number in range(rows.start, rows.stop)]),
                )
                for split, rows in parts.items()
            },
            CLASSES,
            "The first 300, the next 100 and the next 100.",
            "scikit-learn's digits",
        ),
        size,
        lambda file: {"duplicates": DUPLICATES},
    )


def _csv(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows([{key: "" if value is None else value for key, value in row.items()} for row in rows])


def score_rows(metric, values, *, ks, majority=None, status="ok", n=QUERIES, chance=0.1, **more):
    for split, value in values.items():
        for k in ks:
            # A little worse the farther out; k = 3 is exact.
            value_k = value if k in (3, None) else value - 0.002 * (k - 3)
            bad = status != "ok"
            yield {
                **key(metric, split, k, **more),
                "value": math.nan if bad else value_k,
                "low": math.nan if bad else value_k - HALF,
                "high": math.nan if bad else min(1.0, value_k + HALF),
                "n": n,
                "chance": chance,
                "majority": majority,
                "status": status,
            }


def key(metric, split, k, *, protocol="visrec", distance="l2", features="raw", average="micro", duplicates="kept"):
    values = protocol, metric, split, k, distance, features, average, duplicates
    return dict(zip(KEYS, values, strict=True))


def wave(value, phase):
    """Scores of queries with this mean, whose bootstrap interval is `HALF` to either side.

    Some leave [0, 1], as no score of a query can; means and intervals do not mind.
    """
    # Of all orders of the queries, one whose draws give limits within 0.0002 of that, at every phase in use.
    turns = np.random.default_rng(424).permutation(QUERIES) / QUERIES + phase
    return value + HALF * math.sqrt(2 * QUERIES) / 1.96 * np.cos(2 * np.pi * turns)


def write_trial(results, one, about, number, reason, queries):
    folder = results / one.folder
    folder.mkdir(parents=True, exist_ok=True)
    status = "ok" if about else "collapsed"
    val, test, accuracy, linear = about or (0.5, 0.5, 0.5, 0.5)
    precision = {"train": val - 0.01, "val": val, "test": test}
    accuracies = {"val": accuracy, "test": accuracy}
    more = {"status": status}
    knn = [
        *score_rows("precision", precision, ks=(1, 3, 5, 10), **more),
        # What the leaderboard must not take for its own.
        *score_rows("precision", {"val": 0.001, "test": 0.001}, ks=(3,), distance="cosine", **more),
        *score_rows("precision", {"val": 0.002, "test": 0.002}, ks=(3,), features="whitened", **more),
        *score_rows("precision", {"val": 0.003, "test": 0.003}, ks=(3,), duplicates="dropped", **more),
        *score_rows("precision", {"train": (1 + 2 * (val - 0.01)) / 3}, ks=(3,), chance=0.4, protocol="paper", **more),
        *score_rows("precision", {"val": 0.5, "test": 0.5}, ks=(3,), average="macro", chance=0.11, **more),
        *score_rows("accuracy", accuracies, ks=(1, 3, 5, 10), majority=0.12, **more),
        *score_rows("map_at_r", {"test": test - 0.5}, ks=(None,), chance=0.01, **more),
    ]
    plain = {"distance": "", "features": "standardised", **more}
    linears = {"train": 0.999, "val": linear, "test": linear}
    svm = [
        *score_rows("accuracy", linears, ks=(None,), majority=0.12, **plain),
        *score_rows("accuracy", {"test": linear}, ks=(None,), average="macro", **plain),
        *score_rows("chosen_C", {"val": 0.1}, ks=(None,), chance=None, **plain),
    ]
    _csv(folder / "knn.csv", SCORE, knn)
    _csv(folder / "svm.csv", SCORE, svm)
    phase = PHASES.get(one.encoder, 2 / 3 + (number - 3) / 4)
    images = results / layout.images(one.dataset, one.size)
    query_scores(folder / "knn.h5", images, knn, phase, lists=lists(images, number) if status == "ok" else None)
    query_scores(folder / "svm.h5", images, svm, phase)
    embeddings(results, one, folder, status, number)
    write_json(folder / "embed.json", cost(status, number))
    neighbours(results, one, folder, number, queries if status == "ok" else 0)
    projection(results, one, folder, number, 40 if status == "ok" else 0)
    if layout.has_atlas(one.encoder, EVALUATORS):
        write_atlas(folder / "atlas.csv", status)
    for rule in ("embed", "neighbours", *([one.stage] if one.stage else [])):
        path = results / f"benchmarks/{rule}/{one.folder}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "\t".join(BENCHMARK) + "\n" + f"{12.5 + number}\t0:00:12\t{400 + number}.5\t-\t-\t-\t-\t-\t-\t9\n"
        )
    if one.stage == "fit":
        write_json(folder / "status.json", {"status": "ok", "reason": "", "seconds": 0.21})
    if one.stage == "train":
        train_files(folder, one, status, reason, number)
        selectors(folder / "selectors.csv", one, status)


def query_scores(path, images, table, phase, lists=None):
    """The scores of each query of val and test behind the micro rows of an evaluator's table."""
    splits, rows, scores = {}, {}, {}
    for split in ("val", "test"):
        read = read_images(images, split)
        order = np.argsort(read.ids)[::-1]  # as the rows of a split, not in the order of ids
        kept = [row for row in table if row["split"] == split and row["average"] == "micro" and row["status"] == "ok"]
        kept = [row for row in kept if row["metric"] != "chosen_C"][::-1]  # the headline's is not the first
        splits[split] = read.ids[order], read.labels[order]
        rows[split] = [{name: row[name] for name in KEYS} for row in kept]
        scores[split] = np.array([wave(row["value"], phase)[::-1] for row in kept]).reshape(len(kept), len(order))
    write_query_scores(path, splits, rows, scores, lists)


def lists(images, number):
    """Ten of the 300 train images for 20 test images: 5 the same for all trials, 5 others."""
    ids = np.sort(read_images(images, "test").ids)[:20]
    rows = np.tile(np.arange(10), (20, 1))
    rows[:, 5:] = 5 * (number + 2) + np.arange(5)
    return ids, rows


def selectors(path, one, status):
    """One selector that prefers a small lambda_z, one that prefers a large one, one that says nothing."""
    weight = one.options["lambda_z"] + one.options["mu_x"] / 100
    values = (("sliced_wasserstein", weight, "lower"), ("rankme_stack", weight, "higher"), ("hubness", 1.0, "lower"))
    rows = [(name, value if status == "ok" else None, better, status) for name, value, better in values]
    columns = ["selector", "value", "better", "status"]
    _csv(path, columns, [dict(zip(columns, row, strict=True)) for row in rows])


def write_atlas(path, status):
    """Layers alone and stacked, in both batch norm modes; conv3 scores best and the output dominates no distance."""
    layers_alone = (("conv2", "average", 6, 0.6, 0.2, 0.3), ("conv3", "flatten", 20, 0.9, 2 / 3, 0.65))
    rows = []
    for batchnorm, less in (("reestimated", 0.0), ("running", 0.1)):
        for layer, pooling, dimensions, value, *shares in layers_alone:
            rows.append(_layer(batchnorm, "alone", pooling, layer, dimensions, value - less, *shares))
        rows.append(_layer(batchnorm, "output", "", "output", 4, 0.5 - less, 2 / 15, 0.05))
        rows.append(_layer(batchnorm, "stack", "", "conv2+conv3+output", 30, 0.85 - less))
        rows.append(_layer(batchnorm, "stack-grid", "", "conv2+conv3+output", 5000, 0.8 - less, note="too wide"))
    _csv(path, atlas.COLUMNS, rows if status == "ok" else [])


def _layer(batchnorm, variant, pooling, names, dimensions, value, share=None, distance=None, note=""):
    numbers = {"k": 3, "precision": value, "low": value - 0.02, "high": value + 0.02, "n": 100, "chance": 0.1}
    probe = {} if note else {"probe": value, "probe_low": value - 0.03, "probe_high": value + 0.03, "probe_n": 50}
    about = dict.fromkeys(atlas.COLUMNS) | numbers | probe | {"lift": (value - 0.1) / 0.9, "note": note}
    about |= {"batchnorm": batchnorm, "variant": variant, "pooling": pooling, "layers": names}
    return about | {"dimensions": dimensions, "share_of_dimensions": share, "share_of_distance": distance}


def embeddings(results, one, folder, status, number):
    path = results / layout.images(one.dataset, one.size)
    widths = {"stack": {"conv2": 6, "conv3": 20, "output": 4}, "flat": {"features": 12}}
    widths = widths["flat" if one.encoder in ("pixels", "pca") else "stack"]
    scale = {"conv2": 0.5, "conv3": 2.0, "output": 0.1, "features": 1.0}
    noise = np.random.default_rng(number)
    write_embeddings(
        folder / "embeddings.h5",
        path,
        {
            split: [{name: scale[name] * noise.standard_normal((count, width)) for name, width in widths.items()}]
            for split, count in (("train", 300), ("val", 100), ("test", 100))
        },
        spec={"encoder": one.encoder},
        status=status,
    )
    layers.write(folder / "embeddings.h5", folder / "layers.csv")


def cost(status, number):
    ok = status == "ok"
    about = {
        "images": 500 if ok else 0,
        "seconds": 0.25 if ok else 0.0,
        "images_per_second": 2000.0 + number if ok else None,
    }
    about |= {"device": "cpu", "precision": "fp32", "threads": 2, "host": "node<1>", "torch": "2.13.0"}
    return about | {"commit": "abc1234", "gpu_memory_mb": 0}


def neighbours(results, one, folder, number, queries):
    path = results / layout.images(one.dataset, one.size)
    train, test = read_images(path, "train"), read_images(path, "test")
    noise = np.random.default_rng(100 + number)
    rows = []
    for query in range(queries):
        label = test.labels[query]
        same, other = np.flatnonzero(train.labels == label), np.flatnonzero(train.labels != label)
        taken = []
        for rank in range(1, 11):
            pool = same if noise.random() < 0.8 else other
            found = noise.choice(np.setdiff1d(pool, taken))
            taken.append(found)
            rows.append(
                {
                    "query_id": test.ids[query],
                    "query_label": CLASSES[label],
                    "rank": rank,
                    "id": train.ids[found],
                    "label": CLASSES[train.labels[found]],
                    "distance": 1.5 + 0.2 * rank,
                    "correct": bool(train.labels[found] == label),
                }
            )
    _csv(folder / "neighbours.csv", ["query_id", "query_label", "rank", "id", "label", "distance", "correct"], rows)


def projection(results, one, folder, number, points):
    """Places without meaning; the first points are the queries of neighbours.csv."""
    test = read_images(results / layout.images(one.dataset, one.size), "test")
    places = np.random.default_rng(200 + number).normal(size=(points, 4)).round(3)
    columns = ["id", "label", "pca_x", "pca_y", "tsne_x", "tsne_y", "pca_trustworthiness", "tsne_trustworthiness"]
    labels = [CLASSES[label] for label in test.labels]
    rows = [(test.ids[i], labels[i], *places[i], 0.8, 0.97) for i in range(points)]
    _csv(folder / "projection.csv", columns, [dict(zip(columns, row, strict=True)) for row in rows])


def train_files(folder, one, status, reason, number):
    collapsed = status != "ok"
    noise = np.random.default_rng(number)
    last = 240 if collapsed else 600
    rows = []
    for iteration in range(20, last + 1, 10):
        rise = 1 - math.exp(-iteration / 120)
        spread = 0.9 * rise if not collapsed else 0.9 * math.exp(-iteration / 40)
        jitter = noise.normal(0, 0.02)
        kl = 4.352 - math.log(max(spread, 1e-3)) + 0.05 * jitter
        rows.append(
            {
                "iteration": iteration,
                "learning_rate": 2e-4,
                "loss_encoder": 3 * (1 - rise) + 2 + jitter,
                "loss_generator": 1992 + 8 * (1 - rise) + jitter,
                "latent_cosine": rise,
                "kl_real": kl,
                "kl_fake": kl + 0.2 + jitter,
                "kl_exact_real": 64 * kl,
                "kl_exact_fake": 64 * kl + 3,
                "fake_weight": rise / 2,
                "reconstruction_error": 0.5 - rise / 4,
                "kl_real_ratio": kl / 4.352,
                "kl_fake_ratio": (kl + 0.2 + jitter) / 4.352,
                "pixel_match": 0.15 + 0.4 * (1 - rise) + 0.2 * abs(jitter),
                "latent_match": 1.993,
                "variance_min": 0.5 * spread,
                "variance_mean": spread,
                "variance_max": 1.6 * spread,
                "fake_variance_mean": spread,
                "mean_norm": math.sqrt(max(0.0, 1 - spread)),
                "sample_spread": spread,
                "images_per_second": 900 + 40 * noise.normal(),
            }
        )
    _csv(folder / "history.csv", HISTORY, rows)
    for name in ("samples.png", "reconstructions.png"):
        data = digits().images[16 * (number % 100) :][:64].reshape(4, 16, 8, 8) * 15.9
        sheet = np.kron(data.transpose(0, 2, 1, 3).reshape(32, 128), np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(sheet // (8 if collapsed else 1)).convert("RGB").save(folder / name)
    write_json(
        folder / "status.json",
        {
            "status": status,
            "reason": reason if collapsed else "",
            "iterations": last,
            "seconds": 41.2,
            "images_per_second": 932.1,
            "device": "cpu",
            "precision": "fp32",
            "parameters": {"encoder": 1183616, "generator": 1183619},
            "host": "node<1>",
            "torch": "2.13.0",
            "threads": 2,
        },
    )


CONFIG = {
    "experiment": "demo",
    "datasets": {"digits": {"sizes": [16]}},
    "encoders": {"pixels": {}, "random": {}, "pca": {}, "age": {"grid": {"lambda_z": [500, 1000], "mu_x": [10, 50]}}},
    "evaluators": {"knn": {}, "svm": {}},
    "report": {"queries": 4, "neighbours": 10},
}
