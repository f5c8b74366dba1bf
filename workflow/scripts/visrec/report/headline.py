"""Which scores the leaderboard reads, by which it chooses, and by what they are told from all others."""

from collections.abc import Mapping
from typing import Any

GROUP = ["dataset", "size", "encoder"]
# Which of an evaluator's rows the leaderboard reads; of knn's also those below.
HEADLINE = {"protocol": "visrec", "average": "micro", "duplicates": "kept"}
HEADLINE_KNN = {"distance": "l2", "features": "raw"}
HEADLINE_SPACE = (HEADLINE_KNN["features"], HEADLINE_KNN["distance"])
# column of the leaderboard: (evaluator, metric)
SOURCES = {"precision": ("knn", "precision"), "knn_accuracy": ("knn", "accuracy"), "svm_accuracy": ("svm", "accuracy")}
COMPARED = SOURCES | {"map_at_r": ("knn", "map_at_r")}
AT_K = ("precision", "knn_accuracy")
MACRO = "macro_precision"


def k_of(name: str, k: int) -> int | None:
    """The k of a score in `COMPARED`, given the headline's; None for those that have none."""
    return k if name in AT_K else None


def is_headline(row: Mapping[str, Any], name: str, k: int) -> bool:
    """Whether a row of an evaluator's scores is the one that a name in `COMPARED` stands for."""
    evaluator, metric = COMPARED[name]
    wanted = HEADLINE | (HEADLINE_KNN if evaluator == "knn" else {}) | {"metric": metric, "k": k_of(name, k)}
    return all(row[key] == value for key, value in wanted.items())
