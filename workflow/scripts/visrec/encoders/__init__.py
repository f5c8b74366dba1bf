"""Encoders: one file each, found by name. See docs/adding-an-encoder.md for the contract."""

import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visrec.data.embeddings import write_embeddings
from visrec.data.files import write_json
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, read_image_info, read_images
from visrec.experiment import registry
from visrec.jobs import progress
from visrec.scoring import layers

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
    registry.load("encoders", name).fit(read_images(images, "train").images, options, seed, Path(model))
    write_json(status, {"status": "ok", "reason": "", "seconds": round(time.perf_counter() - began, 3)})


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
        files: the files to write, by name (see `visrec.training.loop.TrainingFiles`).
        checkpoints: folder for them, which must not be among the files that Snakemake knows.
        every: how often, `iterations` and `minutes` (see `visrec.training.checkpoint.Checkpoints`).
        code: fingerprint of the code that trains; a checkpoint of other code is refused.
        tensorboard: folder for its logs, or None for no logs.
    """
    from visrec.training.checkpoint import Checkpoints

    identity = {
        "encoder": name,
        "options": dict(options),
        "seed": seed,
        "images": read_image_info(images).fingerprint,
        "code": code,
        "device": device.type,
    }
    registry.load("encoders", name).train(
        read_images(images, "train").images,
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
    cost: str | Path,
    dtype: str = "float32",
    commit: str | None = None,
) -> None:
    """Embed all images of all splits; write embeddings.h5, the table of its layers and what it cost.

    `seconds` in `cost` are of reading the pictures from images.h5 and computing their features, all splits together;
    imports, the loading of the network, the re-estimation of batch norm and the writing of embeddings.h5 do not count.

    Args:
        name: of the encoder.
        images: images.h5.
        model: what `fit` or `train` wrote, or None for an encoder that has neither.
        status: the JSON beside it; a status other than "ok" is passed on, with no features.
        options: all the encoder's options.
        seed: the trial's.
        device: where to compute.
        out: embeddings.h5.
        layer_table: CSV, see `visrec.scoring.layers`.
        cost: JSON file to write: images, seconds, images_per_second (null if there are no features), device, precision,
            threads, host, torch, commit, gpu_memory_mb.
        dtype: of the features in embeddings.h5, "float32" or "float16"; they are computed in float32.
        commit: of the code, to be kept in `cost`; None outside a checkout.

    Raises:
        UserError: a feature is not finite though the status is "ok", or is too large for `dtype`.
    """
    import torch

    how_it_ended = json.loads(Path(status).read_text(encoding="utf-8"))["status"] if status else "ok"
    spec = {"encoder": name, "options": dict(options), "seed": seed, "seen": "train"}
    batches: dict[str, Iterator[dict[str, np.ndarray]]] = {}
    spent = {"images": 0, "seconds": 0.0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if how_it_ended == "ok":
        source = ImageFile(images)
        encoder = registry.load("encoders", name)
        extract = encoder.extractor(Path(model) if model else None, source, options, seed, device)
        batches = {split: _batches(source, split, extract, spent) for split in SPLITS}
    else:
        log.warning("training ended as '%s': no features", how_it_ended)
    write_embeddings(out, images, batches, spec=spec, status=how_it_ended, dtype=dtype)
    layers.write(out, layer_table)
    gpu_memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    write_json(
        cost,
        {
            "images": spent["images"],
            "seconds": round(spent["seconds"], 6),
            "images_per_second": round(spent["images"] / spent["seconds"], 1) if spent["images"] else None,
            # Raw pixels and components never leave the CPU, whatever device the job was given.
            "device": torch.cuda.get_device_name(device) if gpu_memory else "cpu",
            "precision": "fp32",
            "threads": torch.get_num_threads(),
            "host": platform.node(),
            "torch": torch.__version__,
            "commit": commit,
            "gpu_memory_mb": round(gpu_memory / 1e6),
        },
    )


def _batches(
    source: ImageFile,
    split: str,
    extract: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]],
    spent: dict[str, float],
) -> Iterator[dict[str, np.ndarray]]:
    images, ids = source.images(split), source.ids(split)
    with progress.bar(total=len(ids), desc=f"embedding {split}", unit="img") as bar:
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            began = time.perf_counter()
            features = extract(images[part], ids[part])  # arrays of the CPU: a GPU is done with them
            spent["seconds"] += time.perf_counter() - began
            spent["images"] += len(ids[part])
            yield features
            bar.update(len(ids[part]))
