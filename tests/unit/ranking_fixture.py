"""Scores of rankings by enumeration, to compare with."""

import itertools
from fractions import Fraction

import numpy as np
import torch

from visrec.scoring import ranking


def ranked(squared, relevant, device="cpu"):
    tensors = torch.tensor(np.array(squared, float)), torch.tensor(np.array(relevant, bool))
    return ranking.ranked(*(tensor.to(device) for tensor in tensors))


def scores_of_order(hits):
    """R-precision, MAP@R and reciprocal rank of one order, from their definitions, in exact fractions."""
    total = sum(hits)
    precision = [Fraction(sum(hits[: i + 1]), i + 1) for i in range(len(hits))]
    at_r = sum((p for p, hit in zip(precision[:total], hits, strict=False) if hit), Fraction(0)) / total
    return precision[total - 1], at_r, Fraction(1, hits.index(1) + 1)


def enumerate_orders(squared, relevant):
    """The scores averaged over every order of the rows at equal distance."""
    groups = [[int(r) for d, r in zip(squared, relevant, strict=True) if d == each] for each in sorted({*squared})]
    sums, orders = [Fraction(0)] * 3, 0
    for order in itertools.product(*(itertools.permutations(group) for group in groups)):
        sums = [one + other for one, other in zip(sums, scores_of_order(list(itertools.chain(*order))), strict=True)]
        orders += 1
    return [float(each / orders) for each in sums]
