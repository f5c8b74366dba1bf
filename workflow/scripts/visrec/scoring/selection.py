"""Choosing hyper-parameters without labels: how good is a trained trial, if no class may be looked at?

The seed paper chose lambda and mu by the quality of what is generated and named no measure. These are measures of the
samples and reconstructions, of encoders that draw them (PICTURES), and of the embedding, each of val images
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
from scipy.special import entr

from visrec.data.embeddings import Embeddings, read_embeddings
from visrec.data.files import atomic
from visrec.data.images import read_image_info, read_images
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.jobs import progress
from visrec.scoring import frechet, health, neighbours
from visrec.scoring.queries import first_by_digest
from visrec.scoring.sliced_wasserstein import from_bytes, sliced_wasserstein, to_bytes
from visrec.training import models
from visrec.training.method import Method

log = logging.getLogger(__name__)

COLUMNS = ["selector", "value", "better", "status"]
# What an encoder must draw (PICTURES) to be measured so; all others need the embedding alone.
NEEDS = {
    "sliced_wasserstein": "samples",
    "reconstruction_error": "reconstructions",
    "fid_torchvision": "samples",
}
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
    "hubness": "val has no images, or all training images are listed equally often",
    "fid_torchvision": "val has fewer than two images",
}

IMAGES = 2_048  # val images, and as many samples; sorting 2^18 projections per direction takes seconds, not minutes
RANK_ROWS = 25_600  # of the train embedding, as in the RankMe paper
HUB_QUERIES = 2_000
HUB_K = 10
BATCH = 256

PROBE_SEED = 0  # of patches and directions, the same for every trial


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
        if (name == "fid_torchvision" and not inception) or not _can(spec, name):
            continue
        value = values.get(name, math.nan)
        status = UNDEFINED[name] if embedded.status == "ok" and math.isnan(value) else embedded.status
        rows.append((name, value, better, status))
    with atomic(out) as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)


def _can(spec: Spec, selector: str) -> bool:
    """Whether an encoder draws what a selector needs."""
    return NEEDS.get(selector) in (None, *registry.declared("encoders", spec.encoder).get("PICTURES", ()))


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
    k = min(HUB_K, len(train.ids))  # of fewer images each is in every list, which says nothing
    values = {
        "rankme_output": rankme(train.features[rows, output], device),
        "rankme_stack": rankme(train.features[rows], device),
        "hubness": hubness(val.features[choose(val.ids, HUB_QUERIES)], train.features, k, device),
    }
    if not any(_can(spec, name) for name in NEEDS):
        return values
    net = frechet.load_inception(inception, device) if inception else None
    chosen = choose(val.ids, IMAGES)
    real, method = pictures.images[chosen], models.load(spec, model, read_image_info(images), device)
    if _can(spec, "reconstruction_error"):
        decoded = _finite(decode(method, torch.from_numpy(val.features[chosen, output])), model)
        values["reconstruction_error"] = reconstruction_error(decoded, real)
    if _can(spec, "sliced_wasserstein"):
        random = torch.Generator().manual_seed(spec.seed)  # of the CPU: the same latents on every device
        samples = to_bytes(_finite(decode(method, method.latents(len(chosen), random)), model))
        values["sliced_wasserstein"] = sliced_wasserstein(samples, real, PROBE_SEED)
        if net is not None and len(real) > 1:
            a, b = (frechet.statistics(frechet.inception_features(net, each, device)) for each in (samples, real))
            values["fid_torchvision"] = frechet.frechet_distance(*a, *b)
    return values


def _finite(pictures: np.ndarray, model: str | Path) -> np.ndarray:
    if not np.isfinite(pictures).all():
        raise UserError(f"{model}: makes pictures that are not finite though training was ok; train again")
    return pictures


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


def reconstruction_error(decoded: np.ndarray, images: np.ndarray) -> float:
    """Mean absolute difference of pixels in [-1, 1], so from 0 to 2.

    Args:
        decoded: float32 (N, 3, S, S), g(e(x)) of the images.
        images: uint8 (N, 3, S, S).

    Returns:
        NaN without images.
    """
    return float(np.abs(decoded - from_bytes(images)).mean(dtype=np.float64)) if len(images) else math.nan


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
    return float(np.exp(entr(singular / singular.sum()).sum())) if singular.any() else math.nan


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
