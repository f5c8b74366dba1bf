"""How others score nearest neighbours, by name, so that our numbers can stand beside theirs.

A protocol moves a k-NN score by two or three points, as much as a method does, so a number without one cannot be
compared. All are computed from the same lists of neighbours. One thing is done differently from every one of them:
where distances or votes tie, their libraries let the order of rows or classes decide; here the expected value counts.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """The rules of a harness.

    Attributes:
        about: whose it is and what it does, in one line.
        distance: "l2" or "cosine", on raw features.
        metrics: what is measured: "precision", "accuracy" (plain vote), "accuracy_weighted", "r_precision", "map_at_r".
        k: numbers of neighbours.
        temperature: T of the votes' weights exp(cosine / T), for "accuracy_weighted".
        splits: whose images are the queries; the gallery is always train.
        self_counted: whether a query in train is its own first neighbour.
    """

    about: str
    distance: str
    metrics: tuple[str, ...]
    k: tuple[int, ...] = ()
    temperature: float = math.nan
    splits: tuple[str, ...] = ("test",)
    self_counted: bool = False


PROTOCOLS = {
    "paper": Protocol(
        "seed paper: precision of 3 neighbours in L2; on train each query finds itself first",
        "l2",
        ("precision",),
        (3,),
        splits=("train", "val"),
        self_counted=True,
    ),
    "leave-one-out": Protocol(
        "3 neighbours in L2 among all other training images",
        "l2",
        ("precision", "accuracy"),
        (3,),
        splits=("train",),
    ),
    "dino": Protocol(
        "DINO: cosine, votes weighted exp(s / 0.07), k from 10 to 200",
        "cosine",
        ("accuracy_weighted",),
        (10, 20, 100, 200),
        temperature=0.07,
    ),
    "lightly": Protocol(
        "Lightly: cosine, 200 votes weighted exp(s / 0.1)",
        "cosine",
        ("accuracy_weighted",),
        (200,),
        temperature=0.1,
    ),
    "w-mse": Protocol("W-MSE: plain vote of 5 neighbours in L2", "l2", ("accuracy",), (5,)),
    "dkobak": Protocol("Kobak: plain vote of 10 neighbours in cosine", "cosine", ("accuracy",), (10,)),
    "pml": Protocol(
        "PyTorch Metric Learning: L2, precision at 1, R-precision and MAP@R over whole rankings",
        "l2",
        ("precision", "r_precision", "map_at_r"),
        (1,),
    ),
}
# Few-label protocols are the evaluator few_labels'.
