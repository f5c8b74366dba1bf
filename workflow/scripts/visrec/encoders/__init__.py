"""Encoders: one file each, found by name. See docs/adding-an-encoder.md for the contract."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec import layers, progress, registry, store

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

BATCH = 1024


def fit(
    name: str, images: str | Path, options: Mapping[str, Any], seed: int, model: str | Path, status: str | Path
) -> None:
    """Fit an encoder that is content with a CPU, on the training images alone and without their labels.

    Args:
        name: of the encoder.
        images: images.h5.
        options: the encoder's options of stage fit.
        seed: of random choices.
        model: safetensors file to write.
        status: JSON file to write: status, reason, seconds.
    """
    began = time.perf_counter()
    registry.load("encoders", name).fit(store.read_images(images, "train").images, options, seed, Path(model))
    store.write_json(status, {"status": "ok", "reason": "", "seconds": round(time.perf_counter() - began, 3)})


def train(
    name: str,
    images: str | Path,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    files: Mapping[str, str],
    checkpoints: str | Path,
    every: Mapping[str, float],
    code: str = "",
    tensorboard: str | Path | None = None,
) -> None:
    """Train an encoder that wants a GPU, on the training images alone and without their labels.

    Killed and started again, it goes on from its newest checkpoint.

    Args:
        name: of the encoder.
        images: images.h5.
        options: the encoder's options of stage train.
        seed: of weights, noise and data order.
        device: where to compute.
        files: the files to write, by name (see `visrec.training.TrainingFiles`).
        checkpoints: folder for them, which must not be among the files that Snakemake knows.
        every: how often, `iterations` and `minutes` (see `visrec.checkpoint.Checkpoints`).
        code: fingerprint of the code that trains; a checkpoint of other code is refused.
        tensorboard: folder for its logs, or None for no logs.
    """
    from visrec.checkpoint import Checkpoints

    identity = {
        "encoder": name,
        "options": dict(options),
        "seed": seed,
        "images": store.read_image_info(images).fingerprint,
        "code": code,
        "device": device.type,
    }
    registry.load("encoders", name).train(
        store.read_images(images, "train").images,
        options,
        seed,
        device,
        {key: Path(file) for key, file in files.items()},
        Checkpoints(checkpoints, identity, **every),
        Path(tensorboard) if tensorboard else None,
    )


def embed(
    name: str,
    images: str | Path,
    model: str | Path | None,
    status: str | Path | None,
    options: Mapping[str, Any],
    seed: int,
    device: "torch.device",
    out: str | Path,
    layer_table: str | Path,
    dtype: str = "float32",
) -> None:
    """Embed all images of all splits; write embeddings.h5 and the table of its layers.

    Args:
        name: of the encoder.
        images: images.h5.
        model: what `fit` or `train` wrote, or None for an encoder that has neither.
        status: the JSON beside it; a status other than "ok" is passed on, with no features.
        options: all the encoder's options.
        seed: the trial's.
        device: where to compute.
        out: embeddings.h5.
        layer_table: CSV, see `visrec.layers`.
        dtype: of the features in embeddings.h5, "float32" or "float16"; they are computed in float32.

    Raises:
        UserError: a feature is not finite though the status is "ok", or is too large for `dtype`.
    """
    how_it_ended = json.loads(Path(status).read_text(encoding="utf-8"))["status"] if status else "ok"
    spec = {"encoder": name, "options": dict(options), "seed": seed, "seen": "train"}
    batches: dict[str, Iterator[dict[str, np.ndarray]]] = {}
    if how_it_ended == "ok":
        source = store.ImageFile(images)
        encoder = registry.load("encoders", name)
        extract = encoder.extractor(Path(model) if model else None, source, options, seed, device)
        batches = {split: _batches(source, split, extract) for split in store.SPLITS}
    else:
        log.warning("training ended as '%s': no features", how_it_ended)
    store.write_embeddings(out, images, batches, spec=spec, status=how_it_ended, dtype=dtype)
    layers.write(out, layer_table)


def _batches(
    source: store.ImageFile, split: str, extract: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
) -> Iterator[dict[str, np.ndarray]]:
    images, ids = source.images(split), source.ids(split)
    with progress.bar(total=len(ids), desc=f"embedding {split}", unit="img") as bar:
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            yield extract(images[part], ids[part])
            bar.update(len(ids[part]))
