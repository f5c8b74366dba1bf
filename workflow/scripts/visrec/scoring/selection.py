"""Choosing hyper-parameters without labels: how good is a trained trial, if no class may be looked at?

The seed paper chose lambda and mu by the quality of what is generated and named no measure. These are measures of the
samples and reconstructions, of methods that have them (`latents`, `decode`), and of the embedding, each of val images
or train images and never of test. Only `fid_torchvision` needs a network trained by others, and it is left out where
its weights are not given.

Networks are in evaluation mode and in float32. What decodes uses its batch norm's running statistics as training left
them. AGE's generator has no others: they are of latents e(x) and z, so unlike the encoder's they were not mixed from
two kinds of images. Reconstructions start from the embedding's own output layer, that is from the encoder's batch norm
statistics that the trial embeds with (its option `batchnorm`).
"""

import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import convolve1d
from scipy.stats import entropy
from torch import nn

from visrec.data.embeddings import Embeddings, read_embeddings
from visrec.data.files import atomic
from visrec.data.images import read_image_info, read_images
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.jobs import progress
from visrec.scoring import frechet, health, neighbours
from visrec.scoring.queries import first_by_digest
from visrec.training import models
from visrec.training.method import Method

log = logging.getLogger(__name__)

COLUMNS = ["selector", "value", "better", "status"]
OF_PICTURES = ("sliced_wasserstein", "reconstruction_error", "fid_torchvision")
BETTER = {
    "sliced_wasserstein": "lower",
    "reconstruction_error": "lower",
    "rankme_output": "higher",
    "rankme_stack": "higher",
    "hubness": "lower",
    "fid_torchvision": "lower",
}
UNDEFINED = {
    "sliced_wasserstein": "val has no images",
    "reconstruction_error": "val has no images",
    "rankme_output": "the embedding is zero",
    "rankme_stack": "the embedding is zero",
    "hubness": "all training images are listed equally often",
    "fid_torchvision": "val has fewer than two images",
}

IMAGES = 2_048  # val images, and as many samples; sorting 2^18 projections per direction takes seconds, not minutes
RANK_ROWS = 25_600  # of the train embedding, as in the RankMe paper
HUB_QUERIES = 2_000
HUB_K = 10
BATCH = 256

SMALLEST = 16  # pixels, the last level of the pyramid
PATCH = 7
PATCHES = 128  # per image and level
DIRECTIONS = 512
DIRECTIONS_AT_ONCE = 32
FLAT = 1e-4  # a standard deviation of pixels in [-1, 1] that 8 bits cannot show
PROBE_SEED = 0  # of patches and directions: the same for all trials, so that they are measured with one stick


def write(
    spec: Spec,
    images: str | Path,
    model: str | Path,
    embeddings: str | Path,
    device: torch.device,
    out: str | Path,
    inception: str | Path = "",
) -> None:
    """Write all selectors of one trained trial as CSV.

    Columns: selector, value (empty where there is none), better ("lower" or "higher"), status ("ok", how training
    ended, or why there is no value).

    Args:
        spec: the encoder, its options of stage train, and the seed, which is of the latents that are sampled, too.
        images: images.h5.
        model: model.safetensors.
        embeddings: embeddings.h5 of the same images and model, with a layer `output`.
        device: where to compute.
        out: the file to write.
        inception: weights of torchvision's inception_v3 (see `visrec.scoring.frechet`); empty: `fid_torchvision` is
            left out.

    Raises:
        UserError: a file cannot be read, the files do not belong together, or a picture is not finite though the
            status is "ok".
    """
    embedded = read_embeddings(embeddings)
    values: dict[str, float] = {}
    if embedded.status == "ok":
        values = _measure(spec, images, model, embedded, device, inception)
    else:
        log.warning("training ended as '%s': no selectors", embedded.status)
    rows = []
    for name, better in BETTER.items():
        if (name == "fid_torchvision" and not inception) or (name in OF_PICTURES and not _draws(spec)):
            continue
        value = values.get(name, math.nan)
        status = UNDEFINED[name] if embedded.status == "ok" and math.isnan(value) else embedded.status
        rows.append((name, value, better, status))
    with atomic(out) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)


def _draws(spec: Spec) -> bool:
    """Whether a method has samples and reconstructions."""
    kind = registry.load("encoders", spec.encoder).Training
    return hasattr(kind, "latents") and hasattr(kind, "decode")


def _measure(
    spec: Spec,
    images: str | Path,
    model: str | Path,
    embedded: Embeddings,
    device: torch.device,
    inception: str | Path,
) -> dict[str, float]:
    train, val, output = embedded.splits["train"], embedded.splits["val"], embedded.layers["output"]
    pictures = read_images(images, "val")
    if not np.array_equal(pictures.ids, val.ids):
        raise UserError(f"{images}: its val images are not those of the embeddings; delete these and run again")
    rows = choose(train.ids, RANK_ROWS)
    values = {
        "rankme_output": rankme(train.features[rows, output], device),
        "rankme_stack": rankme(train.features[rows], device),
        "hubness": hubness(val.features[choose(val.ids, HUB_QUERIES)], train.features, HUB_K, device),
    }
    if _draws(spec):
        chosen = choose(val.ids, IMAGES)
        net = frechet.load_inception(inception, device) if inception else None
        method = models.load(spec, model, read_image_info(images), device)
        random = torch.Generator().manual_seed(spec.seed)  # of the CPU: the same latents on every device
        decoded = decode(method, torch.from_numpy(val.features[chosen, output]))
        samples = decode(method, method.latents(len(chosen), random))
        if not (np.isfinite(decoded).all() and np.isfinite(samples).all()):
            raise UserError(f"{model}: makes pictures that are not finite though training was ok; train again")
        values |= of_pictures(to_bytes(samples), decoded, pictures.images[chosen], net, device)
    return values


def of_pictures(
    samples: np.ndarray, decoded: np.ndarray, real: np.ndarray, inception: nn.Module | None, device: torch.device
) -> dict[str, float]:
    """The measures of pictures.

    Args:
        samples: uint8 (N, 3, S, S).
        decoded: float32 (N, 3, S, S) in [-1, 1], reconstructions of the real images.
        real: uint8 (N, 3, S, S), val images.
        inception: torchvision's network for `fid_torchvision`; None: without it.
        device: where that is.
    """
    values = {
        "sliced_wasserstein": sliced_wasserstein(samples, real, PROBE_SEED),
        "reconstruction_error": reconstruction_error(decoded, real),
    }
    if inception is not None and len(real) > 1:
        a, b = (frechet.statistics(frechet.inception_features(inception, each, device)) for each in (samples, real))
        values["fid_torchvision"] = frechet.frechet_distance(*a, *b)
    return values


def choose(ids: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` ids (all, if fewer) that come first by SHA-256, ascending.

    Not by the id itself: it often begins with the class, and the first so many would be a few classes.

    Returns:
        int64 (min(count, N),).
    """
    return np.sort(first_by_digest(ids, count))


@torch.no_grad()
def decode(method: Method, latents: torch.Tensor) -> np.ndarray:
    """The pictures of latents float32 (N, M): float32 (N, 3, S, S) in [-1, 1]."""
    parts = []
    with progress.bar(total=len(latents), desc="generating", unit="img") as bar:
        for batch in latents.split(BATCH):
            parts.append(method.decode(batch.to(method.device)).cpu().numpy())
            bar.update(len(batch))
    return np.ascontiguousarray(np.concatenate(parts))


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Float [-1, 1] -> uint8, rounded: samples are compared in the 8 bits that real images have."""
    return ((images + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def from_bytes(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def reconstruction_error(decoded: np.ndarray, images: np.ndarray) -> float:
    """Mean absolute difference of pixels in [-1, 1], so from 0 to 2.

    Args:
        decoded: float32 (N, 3, S, S), g(e(x)) of the images.
        images: uint8 (N, 3, S, S).

    Returns:
        NaN without images.
    """
    return float(np.abs(decoded - from_bytes(images)).mean(dtype=np.float64)) if len(images) else math.nan


def sliced_wasserstein(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """Sliced Wasserstein distance of two sets of images on a Laplacian pyramid: the mean of `level_distances`."""
    return float(np.mean([*level_distances(a, b, seed).values()]))


def level_distances(a: np.ndarray, b: np.ndarray, seed: int) -> dict[int, float]:
    """The sliced Wasserstein distance of each level of the pyramid, by its side in pixels, largest first.

    After Karras et al. (arXiv:1710.10196, section 5): from each level of each image patches of 7x7 pixels are taken,
    each set's channels are brought to mean 0 and standard deviation 1, and the distance is `sliced_distance` of the
    patches over 512 directions. Colour cast and contrast of a whole set are therefore not seen.

    What differs:
    - all images give their patches at the same random places, all of them where there are no more than 128 (at
      16 px: 100). Then the order of images does not matter and a set is at distance 0 from itself;
    - one draw of 512 directions, not 4 of 128, which is the same mean;
    - 2,048 images or fewer, not 16,384. The distance of two samples of one distribution is larger with fewer images;
    - a channel without contrast is centred and not divided;
    - no factor of 1000.

    Args:
        a: uint8 (N, 3, S, S).
        b: uint8 (N, 3, S, S), as many.
        seed: of places and directions.

    Returns:
        side -> distance in standard deviations of the level's pixels; NaN without images.

    Raises:
        ValueError: the two differ in shape.
    """
    if a.shape != b.shape:
        raise ValueError(f"as many images of one size are needed, not {a.shape} and {b.shape}")
    random = np.random.default_rng(seed)
    directions = random.normal(size=(DIRECTIONS, a.shape[1] * PATCH**2)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = {}
    for level_a, level_b in zip(*(laplacian_pyramid(from_bytes(each)) for each in (a, b)), strict=True):
        side = level_a.shape[-1]
        places = random.permutation((side - PATCH + 1) ** 2)[:PATCHES]
        distances[side] = sliced_distance(_descriptors(level_a, places), _descriptors(level_b, places), directions)
    return distances


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Burt and Adelson's pyramid (1983): what each halving loses, largest first, and the smallest image itself.

    The filter is (1, 4, 6, 4, 1) / 16 along both axes, mirrored at the borders; levels halve while 16 px remain.

    Args:
        images: float32 (N, C, S, S).

    Returns:
        float32 (N, C, S / 2^i, S / 2^i) for i = 0, 1, ...
    """
    levels = []
    while images.shape[-1] >= 2 * SMALLEST:
        smaller = _smooth(images)[..., ::2, ::2]
        spread = np.zeros_like(images)
        spread[..., ::2, ::2] = smaller
        levels.append(images - 4 * _smooth(spread))  # three pixels of four are the zeros between
        images = smaller
    return [*levels, images]


def _smooth(images: np.ndarray) -> np.ndarray:
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (-2, -1):
        images = convolve1d(images, kernel, axis, mode="mirror")
    return images


def _descriptors(level: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Normalised patches (N * places, C * 49) of a level float32 (N, C, S, S); a place numbers a top left corner."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(2, 3))
    patches = windows[:, :, *np.unravel_index(places, windows.shape[2:4])]  # (N, C, places, 7, 7)
    if patches.size:
        per_channel = {"axis": (0, 2, 3, 4), "dtype": np.float64, "keepdims": True}  # float32 would lose digits
        patches -= patches.mean(**per_channel).astype(np.float32)
        spread = np.sqrt(np.square(patches).mean(**per_channel))
        patches /= np.where(spread < FLAT, 1, spread).astype(np.float32)
    return patches.swapaxes(1, 2).reshape(-1, level.shape[1] * PATCH**2)


def sliced_distance(a: np.ndarray, b: np.ndarray, directions: np.ndarray) -> float:
    """Mean over directions of the 1-Wasserstein distance of the projections (Rabin et al., 2011).

    In one dimension, and for as many points, that is the mean absolute difference of the sorted values.

    Args:
        a: float32 (n, D).
        b: float32 (n, D).
        directions: float32 (m, D), of length 1.

    Returns:
        NaN for n = 0.
    """
    if not len(a):
        return math.nan
    total = 0.0
    for start in range(0, len(directions), DIRECTIONS_AT_ONCE):
        some = directions[start : start + DIRECTIONS_AT_ONCE]
        # numpy's sort, on the CPU also beside a GPU: it is quick on float32, and the same everywhere.
        total += np.abs(np.sort(some @ a.T, axis=1) - np.sort(some @ b.T, axis=1)).sum(dtype=np.float64)
    return float(total / (len(directions) * len(a)))


def rankme(features: np.ndarray, device: torch.device | str = "cpu") -> float:
    """RankMe, the effective rank of an embedding (Garrido et al., arXiv:2210.02885, equations 1 and 2).

        exp(-sum_k p_k log p_k),    p_k = sigma_k / sum_j sigma_j

    of the singular values of the features as they are, not centred; without the paper's epsilon of 1e-7, since
    0 log 0 = 0. The singular values are square roots of the eigenvalues of the smaller Gram matrix, in float64. Only
    embeddings of one layer and one width may be compared.

    Args:
        features: float32 (N, D), finite.
        device: where to compute.

    Returns:
        From 1 to min(N, D); NaN if all features are zero, or there are none.
    """
    tall = features if features.shape[0] >= features.shape[1] else features.T
    gram = torch.zeros((tall.shape[1],) * 2, dtype=torch.float64, device=device)
    for start in range(0, len(tall), BATCH):
        block = torch.from_numpy(np.ascontiguousarray(tall[start : start + BATCH])).to(device, torch.float64)
        gram.addmm_(block.T, block)
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().cpu().numpy()
    return float(np.exp(entropy(singular))) if singular.any() else math.nan


def hubness(queries: np.ndarray, gallery: np.ndarray, k: int, device: torch.device | str = "cpu") -> float:
    """Skewness of how often each gallery row is among the k nearest (L2) of a query (Radovanovic et al., 2010).

    Rows tied at the k-th distance share the places that are left among them.

    Args:
        queries: float32 (Q, D), none of them in the gallery.
        gallery: float32 (N, D).
        k: number of neighbours.
        device: where to compute.

    Returns:
        NaN if all rows are listed equally often.

    Raises:
        UserError: the gallery has fewer than k rows.
    """
    recommended = health.Recommended(len(gallery))
    for tile in neighbours.tiles(queries, gallery, k, device=device):
        found = tile.neighbours
        recommended.add(found.starts, found.rows, found.squared, k)
    return health.skewness(recommended.counts)
