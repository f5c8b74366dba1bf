"""The losses of the AGE game, as formulas.

Both games look at a batch of latents e_1 .. e_B on the unit sphere of dimension M through its mean and variance per
component, m_j = mean_i e_ij and v_j = mean_i (e_ij - m_j)^2 (biased, of this batch alone), and measure how far a
Gaussian with these moments is from N(0, I). On the sphere the least value is at m = 0, v_j = 1/M and never 0.

`docs/method.md` derives how the two divergences relate: M * kl_reference = 2 * kl_exact + a constant, to within 0.4 %
of the gradient near uniform at M = 128. The papers' grids for lambda_z and mu_x are meant beside kl_reference.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def moments(e: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (M,) of a batch (B, M), per component, in float32 or wider."""
    e = e if e.dtype == torch.float64 else e.float()
    mean = e.mean(dim=0)
    return mean, (e - mean).square().mean(dim=0)


def kl_exact(e: Tensor) -> Tensor:
    """KL(N(m, v) || N(0, I)) = sum_j [ (v_j + m_j^2) / 2 - log(v_j) / 2 - 1/2 ], a scalar, of latents (B, M)."""
    mean, variance = moments(e)
    return ((variance + mean.square()) / 2 - variance.log() / 2 - 0.5).sum()


def kl_reference(e: Tensor) -> Tensor:
    """mean_j [ (v_j^2 + m_j^2) / 2 - log(v_j) - 1/2 ], a scalar, of latents (B, M).

    What the AGE authors' code computes: the variance stands where the standard deviation belongs, the sum is a mean.
    """
    mean, variance = moments(e)
    return ((variance.square() + mean.square()) / 2 - variance.log() - 0.5).mean()


def kl_exact_scaled(e: Tensor) -> Tensor:
    """(2 / M) * kl_exact: the exact divergence at the scale of `kl_reference`; lambda_z and mu_x keep their meaning."""
    return kl_exact(e) * (2 / e.shape[1])


KL: dict[str, Callable[[Tensor], Tensor]] = {"reference": kl_reference, "exact": kl_exact_scaled}


def kl_ideal(kl: str, latent: int) -> float:
    """The value of KL[kl] on the uniform sphere of dimension `latent`, its minimum (4.3521 for reference, 128)."""
    variance = 1 / latent
    if kl == "reference":
        return variance**2 / 2 - math.log(variance) - 0.5
    return variance - math.log(variance) - 1


def pixel_l1(reconstruction: Tensor, x: Tensor) -> Tensor:
    """D_x: mean absolute difference over all B * 3 * S * S elements, pixels in [-1, 1]."""
    _same_shape(reconstruction, x)
    return (reconstruction - x).abs().mean()


def pixel_l2(reconstruction: Tensor, x: Tensor) -> Tensor:
    """D_x: mean squared difference over all B * 3 * S * S elements, pixels in [-1, 1]."""
    _same_shape(reconstruction, x)
    return (reconstruction - x).square().mean()


PIXEL_MATCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": pixel_l1, "l2": pixel_l2}


def latent_match(e: Tensor, z: Tensor) -> Tensor:
    """D_z = 2 - mean over B * M elements of e * z, both (B, M) on the sphere; 2 - 1/M at a perfect match.

    So lambda_z * D_z = lambda_z / (2 M) * E||z - e||^2 + a constant.
    """
    _same_shape(e, z)
    return 2 - (e * z).mean()


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:  # broadcasting (B, M) against (B, M, 1, 1) would train towards something else, silently
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} must be equal")
