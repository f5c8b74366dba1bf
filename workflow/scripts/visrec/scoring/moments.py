"""Mean and variance of each column of features, in blocks of rows."""

import h5py
import numpy as np

ROWS = 512  # in float64 at once: what stays in the cache is faster


def moments(features: np.ndarray | h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (divisor N) of each column, float64 (D,), in one pass (Chan, Golub and LeVeque's update).

    Args:
        features: float (N, D), finite, N at least 1; an array or a dataset of an open file.
    """
    count, mean, squares = 0, np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(features), ROWS):
        block = features[start : start + ROWS].astype(np.float64)
        shift = block.mean(axis=0) - mean
        total = count + len(block)
        squares += block.var(axis=0) * len(block) + shift**2 * count * len(block) / total
        mean += shift * len(block) / total
        count = total
    return mean, squares / count


def mean_and_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float64 (D,); the latter is 1 where all but rounding is constant.

    Args:
        features: float (N, D), finite, N at least 1.
    """
    mean, variance = moments(features)
    error = np.finfo(np.float64).eps * len(features)  # as scikit-learn's StandardScaler has it
    return mean, np.where(variance <= error * variance + (error * mean) ** 2, 1.0, np.sqrt(variance))
