"""Spaces: what is done to features before distances are taken, and the distances. Each is one entry of a table.

Statistics are those of the training images alone. Means and scales are rounded to float32 before they are used, so that
the order in which rows were summed cannot show in the result.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from visrec.scoring.moments import moments

if TYPE_CHECKING:
    import torch

WHITENED = 0.95  # share of the variance that the whitened components carry together
# What the recommender searches: of these alone is known how far storing features in float16 moves them.
SEARCHED = ("raw", "output")
ROWS = 1024  # rows in float64 at once

Change = Callable[[np.ndarray], np.ndarray]


def fit(name: str, train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None" = None) -> Change:
    """A function float32 (N, D) -> float32 (N, D') fitted on the training features; inputs are left as they are.

    Args:
        name: one of `TRANSFORMS`.
        train: float32 (N, D), finite.
        layers: layer name -> its columns.
        device: where whitening computes; None: on the CPU.
    """
    return TRANSFORMS[name].fit(train, layers, device)


def mapped(change: Change, distance: Change, features: np.ndarray) -> np.ndarray:
    """distance(change(features)), some rows at a time, so that no whole copy stands between the two.

    Args:
        change: of `fit`.
        distance: the map of one of `DISTANCES`.
        features: float32 (N, D).

    Returns:
        float32 (N, D'), new, or `features` itself where nothing changes.
    """
    first = distance(change(features[:ROWS]))
    if np.may_share_memory(first, features):
        return features
    out = np.empty((len(features), first.shape[1]), np.float32)
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        out[rows] = first if start == 0 else distance(change(features[rows]))
    return out


def _raw(train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None") -> Change:
    """X."""
    return lambda features: features


def _ones(train: np.ndarray, layers: Mapping[str, slice]) -> list[float]:
    return [1.0] * len(layers)


def _standardised(train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None") -> Change:
    """(x - m) / s: each feature has the same say in a distance; constant ones have none."""
    mean, variance = _rounded_moments(train)
    scale = _inverse(np.sqrt(variance))
    return lambda features: _by_rows(features, len(scale), lambda block: (block - mean) * scale)


def _blocks_of_layers(train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None") -> Change:
    """Each layer over the root of its summed variances: each layer has the same say in a distance.

    Otherwise a wide layer of large values would have nearly all of it.
    """
    scale = np.ones(train.shape[1], np.float32)
    for part, weight in zip(layers.values(), _inverse_spreads(train, layers), strict=True):
        scale[part] = weight
    return lambda features: _by_rows(features, len(scale), lambda block: block * scale)


def _inverse_spreads(train: np.ndarray, layers: Mapping[str, slice]) -> list[float]:
    _, variance = _rounded_moments(train)
    return [float(_inverse(np.sqrt(variance[part].sum()))) for part in layers.values()]


def _output(train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None") -> Change:
    """The last layer alone: what a network was trained to make, which wide layers before it hide in a distance."""
    *_, last = layers.values()
    return lambda features: features[:, last].copy()  # a view would be taken for all of the features, see `mapped`


def _last_alone(train: np.ndarray, layers: Mapping[str, slice]) -> list[float]:
    return [0.0] * (len(layers) - 1) + [1.0]


def _whitened(train: np.ndarray, layers: Mapping[str, slice], device: "torch.device | None") -> Change:
    """The leading principal components over their standard deviations, as many as carry `WHITENED` of the variance.

    Each direction has the same say; the many faint ones, which would drown them, are left out.
    """
    mean, _ = _rounded_moments(train)
    axes = _whitening(train, mean, device)
    return lambda features: _by_rows(
        features, axes.shape[1], lambda block: _product(np.subtract(block, mean, out=block), axes, device)
    )


def unit(features: np.ndarray) -> np.ndarray:
    """Rows brought to length 1, so that L2 ranks as cosine does: |q - g|^2 = 2 (1 - cos).

    If any row is zero, a last column is added that is 1 for zero rows: they have cosine 0 with all others, 1 with each
    other.

    Args:
        features: float32 (N, D).

    Returns:
        float32 (N, D + 1); the last column is 0 but for zero rows.
    """
    out = np.zeros((len(features), features.shape[1] + 1), np.float32)
    for rows, block in _blocks(features):
        largest = np.abs(block).max(axis=1, keepdims=True, initial=0)
        block = np.divide(block, largest, out=np.zeros_like(block), where=largest > 0)  # squares cannot overflow
        norm = np.sqrt(np.square(block).sum(axis=1, keepdims=True))
        out[rows, :-1] = np.divide(block, norm, out=block, where=norm > 0)
        out[rows, -1] = norm[:, 0] == 0
    return out


def _blocks(features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(features), ROWS):
        yield slice(start, start + ROWS), features[start : start + ROWS].astype(np.float64)


def _by_rows(features: np.ndarray, width: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    out = np.empty((len(features), width), np.float32)
    for rows, block in _blocks(features):
        out[rows] = change(block)
    return out


def _inverse(scale: np.ndarray) -> np.ndarray:
    """1 / scale as float32; 0 where the scale is 0, or so small that its inverse is no number."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (1 / np.asarray(scale, np.float64)).astype(np.float32)
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def _rounded_moments(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, float32 (D,), and variance about it, float64 (D,)."""
    exact, variance = moments(train)
    mean = exact.astype(np.float32)
    return mean, variance + (exact - mean) ** 2


def _whitening(train: np.ndarray, mean: np.ndarray, device: "torch.device | None") -> np.ndarray:
    """Leading principal axes over the standard deviation along each, float64 (D, components).

    From the covariance X^T X / N of the centred rows X, or where there are fewer rows than features from X X^T / N =
    U S U^T, which has the same eigenvalues S; the axes are then X^T U / sqrt(N S).
    """
    count, width = train.shape
    if count < width:
        centred = train - mean.astype(np.float64)
        values, axes = _eigen(_product(centred, centred.T, device) / count, device)
        axes = _product(centred.T, axes, device) / np.sqrt(count * np.maximum(values, np.finfo(float).tiny))
    else:
        covariance = np.zeros((width, width))
        for start in range(0, count, 4 * ROWS):
            centred = train[start : start + 4 * ROWS] - mean.astype(np.float64)
            covariance += _product(centred.T, centred, device)
        values, axes = _eigen(covariance / count, device)
    values, axes = values[::-1].clip(min=0), axes[:, ::-1]  # descending
    share = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
    kept = min(int(np.searchsorted(share, WHITENED)) + 1, max(1, int((values > 0).sum())))
    return np.ascontiguousarray(axes[:, :kept] * _inverse(np.sqrt(values[:kept])).astype(np.float64))


def _product(a: np.ndarray, b: np.ndarray, device: "torch.device | None") -> np.ndarray:
    """The product a b, float64, on a device. NumPy takes half the time for a product with its own transpose."""
    if device is None or device.type == "cpu":
        return a @ b
    import torch  # seconds: the report needs the names alone

    return (torch.from_numpy(a).to(device) @ torch.from_numpy(b).to(device)).cpu().numpy()


def _eigen(symmetric: np.ndarray, device: "torch.device | None") -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix, float64 (n, n), on a device."""
    if device is None or device.type == "cpu":
        from scipy.linalg import eigh  # torch's took 1.7 times as long

        return eigh(symmetric, driver="evr", overwrite_a=True, check_finite=False)
    import torch  # seconds: the report needs the names alone

    values, vectors = torch.linalg.eigh(torch.from_numpy(symmetric).to(device))
    return values.cpu().numpy(), vectors.cpu().numpy()


@dataclass(frozen=True)
class Transform:
    """What is done to features before distances are taken.

    Attributes:
        label: on the page.
        fit: (train float32 (N, D), layer name -> its columns, device) -> a function float32 (N, D) -> float32 (N, D').
        weights: of a transform that multiplies each layer by a number: (train, layers) -> these, one per layer. Such
            transforms share their products (`visrec.scoring.neighbours.spaces`).
    """

    label: str
    fit: Callable[[np.ndarray, Mapping[str, slice], "torch.device | None"], Change]
    weights: Callable[[np.ndarray, Mapping[str, slice]], list[float]] | None = None


@dataclass(frozen=True)
class Distance:
    """A distance that maps to L2.

    Attributes:
        label: on the page.
        map: features float32 (N, D) -> float32 (N, D'), whose L2 distance ranks as this distance does.
        of_squared: squared L2 distances of mapped features -> this distance, float64 of any shape.
    """

    label: str
    map: Change
    of_squared: Callable[[np.ndarray], np.ndarray]


# Names are those of the options of the evaluator `knn`; the first of each is the headline's.
TRANSFORMS = {
    "raw": Transform("features as they are", _raw, _ones),
    "standardised": Transform("each feature on one scale", _standardised),
    "blocks": Transform("each layer on one scale", _blocks_of_layers, _inverse_spreads),
    "whitened": Transform("whitened", _whitened),
    "output": Transform("the output alone", _output, _last_alone),
}
DISTANCES = {
    "l2": Distance("L2", lambda features: features, np.sqrt),
    "cosine": Distance("cosine", unit, lambda squared: squared / 2),
}
