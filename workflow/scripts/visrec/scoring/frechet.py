"""The Frechet distance between two sets of images, seen through torchvision's Inception v3.

Not the FID of papers (Heusel et al., arXiv:1706.08500): that is defined with the weights of a TensorFlow graph of 2015,
and torchvision's were trained anew for an Inception that pools a little differently. So it is named after its
weights, and it is computed only where they lie on disk. Its bias depends on the number of images (Chong and Forsyth,
arXiv:1911.07023): compare numbers made from the same count only.
"""

from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visrec.errors import UserError
from visrec.jobs import progress

SIDE = 299  # pixels, what Inception v3 was trained on
BATCH = 64
UNUSED = ("AuxLogits.", "fc.")  # the two classifiers


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of features (N, D), float64; the covariance is divided by N - 1.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(features) < 2:
        raise ValueError(f"a covariance needs two rows or more, not {len(features)}")
    features = features.astype(np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet_distance(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau, 1982).

        ||m_a - m_b||^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2))

    C_a C_b has the eigenvalues of the symmetric R C_b R with R = C_a^(1/2), so nothing becomes complex.

    Args:
        mean_a: (D,).
        cov_a: (D, D), symmetric, no eigenvalue below 0; it may be singular.
        mean_b: (D,).
        cov_b: (D, D), as cov_a.

    Returns:
        At least 0, in squared units of the features.
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)  # rounding alone makes an eigenvalue negative
    distance = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(product).sum()
    return max(float(distance), 0.0)


def load_inception(path: str | Path, device: torch.device) -> nn.Module:
    """Inception v3 up to its pooled features, in evaluation mode, with weights of torchvision's `inception_v3`.

    Args:
        path: state dict, as .safetensors or as what `torch.save` writes; the classifiers in it are not used.
        device: where to compute.

    Returns:
        (B, 3, 299, 299) in [-1, 1] -> (B, 2048).

    Raises:
        UserError: the file is missing, damaged, or not such a state dict.
    """
    from torchvision.models import inception_v3  # slow to import, and few trials need it

    weights = {name: tensor for name, tensor in _read_weights(path).items() if not name.startswith(UNUSED)}
    # The weights want [-1, 1]; `transform_input` would bring images normalised as for ImageNet back to that range.
    net = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    net.fc = nn.Identity()
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"inception: {path} does not hold the weights of torchvision's inception_v3; give that state dict"
        ) from error
    return net.to(device).eval()


def _read_weights(path: str | Path) -> dict[str, Tensor]:
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"inception: {path} does not exist; correct the path or leave it empty") from error
    except Exception as error:  # a file that is no checkpoint can make the reader of pickles raise anything
        raise UserError(f"inception: {path} cannot be read as weights; fetch the file again") from error
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    if not named or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"inception: {path} is not a state dict (name -> tensor); save one with torch.save")
    return weights


@torch.no_grad()
def inception_features(net: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Pooled features of images, resized to 299 px (bilinear, antialiased).

    Args:
        net: of `load_inception`.
        images: uint8 (N, 3, S, S).
        device: where the net is.

    Returns:
        float32 (N, 2048).
    """
    features = []
    with progress.bar(total=len(images), desc="Inception", unit="img") as bar:
        for batch in torch.from_numpy(images).split(BATCH):
            x = batch.to(device, torch.float32) / 127.5 - 1
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
            features.append(net(x).cpu().numpy())
            bar.update(len(batch))
    return np.concatenate(features)
