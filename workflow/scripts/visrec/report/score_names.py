"""What scores and spaces are called on the page; those of the evaluator `knn` are in the table of metrics.

A score is known by its evaluator and its metric, ("knn", "precision").
"""

from visrec.scoring.metrics import CLASSIFICATION, HEALTH, METRICS
from visrec.scoring.transforms import DISTANCES, TRANSFORMS

OTHERS = {  # scores of other evaluators, by group
    CLASSIFICATION: {
        ("svm", "accuracy"): "SVM accuracy",
        ("logistic", "accuracy"): "logistic regression accuracy",
        ("svm", "accuracy_shuffled"): "SVM accuracy, labels shuffled (control)",
    },
    "": {("few_labels", "accuracy"): "accuracy, mean over draws of the labels"},  # in the section of the protocols
}
NOT_SHOWN = {"chosen_C"}  # not a score


def groups() -> list[str]:
    """Groups of the table of all scores, in the order of the page; the health of the lists has a section of its own."""
    return [group for group in dict.fromkeys(metric.group for metric in METRICS.values()) if group != HEALTH]


def labels(group: str | None = None) -> dict[tuple[str, str], str]:
    """(evaluator, metric) -> what it is called, with "{k}" for its number of neighbours; of one group or of all."""
    found = {("knn", name): metric.label for name, metric in METRICS.items() if group in (None, metric.group)}
    for where, others in OTHERS.items():
        if group in (None, where):
            found |= others
    return found


def evaluators() -> set[str]:
    """Evaluators whose scores have names here."""
    return {evaluator for evaluator, _ in labels()}


def has_k(evaluator: str, metric: str) -> bool:
    """Whether a score is measured at each number of neighbours."""
    return evaluator == "knn" and METRICS[metric].per_k


def average(evaluator: str, metric: str) -> dict[str, str]:
    """The average that is shown, if it is not that of the headline: a mean over attributes is "macro"."""
    return {"average": "macro"} if evaluator == "knn" and METRICS[metric].each else {}


def named(evaluator: str, metric: str, k: int | None) -> str:
    """What a score is called."""
    label = labels().get((evaluator, metric), f"{evaluator}: {metric}" + ("@{k}" if k else ""))
    return label.format(k=k) if "{k}" in label else label


def space(features: str, distance: str) -> str:
    """What is done to features, and the distance: "whitened, cosine"."""
    transform, compared = TRANSFORMS.get(features), DISTANCES.get(distance)
    return f"{transform.label if transform else features}, {compared.label if compared else distance}"
