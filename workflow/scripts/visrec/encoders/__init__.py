"""Encoders: one file each, found by name. See docs/adding-an-encoder.md for the contract."""

import hashlib
import importlib
import logging
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visrec.data.embeddings import write_embeddings
from visrec.data.files import write_json
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageInfo, read_image_info, read_images
from visrec.data.models import Model
from visrec.errors import UserError
from visrec.experiment import fits, registry
from visrec.experiment.config import encoder_options
from visrec.experiment.trials import Spec
from visrec.jobs import progress
from visrec.scoring import layers

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

BATCH = 1024


@dataclass(frozen=True)
class EmbeddingFiles:
    """What `embed` writes: embeddings.h5, the table of its layers (`visrec.scoring.layers`), and what it cost."""

    embeddings: Path
    layers: Path
    cost: Path


@dataclass(frozen=True)
class Resume:
    """How a training is kept from being lost.

    Attributes:
        folder: of its checkpoints, which must not be among the files that Snakemake knows.
        iterations: save at least every so many iterations,
        minutes: and every so many minutes.
        code: fingerprint of the code that trains; a checkpoint of other code is refused.
    """

    folder: Path
    iterations: int
    minutes: float
    code: str = ""


def fit(spec: Spec, images: str | Path, model: Model) -> None:
    """Fit an encoder on the CPU, on the training images alone and without their labels.

    Args:
        spec: the encoder, its options of stage fit, and the seed.
        images: images.h5.
        model: the files to write; status, reason and seconds go into the status.
    """
    began = time.perf_counter()
    encoder, pictures = registry.load("encoders", spec.encoder), read_images(images, "train").images
    encoder.fit(pictures, _fitting(spec, read_image_info(images)).options, spec.seed, model.file)
    write_json(model.status, {"status": "ok", "reason": "", "seconds": round(time.perf_counter() - began, 3)})


def _fitting(spec: Spec, info: ImageInfo) -> Spec:
    """The same with defaults that are too large for the dataset lowered."""
    bounds = fits.limits(info.counts["train"], info.size)
    return spec._replace(options=fits.fitted(encoder_options(spec.encoder), spec.options, bounds))


def train(
    spec: Spec,
    images: str | Path,
    device: "torch.device",
    files: dict[str, Path],
    resume: Resume,
    tensorboard: str | Path | None = None,
) -> None:
    """Train a network on the training images; on their labels only if its file declares LABELS.

    Of a method to which images without a label say nothing (UNLABELLED), the labelled ones are all that it sees; a
    batch is all of them where there are fewer.

    Of methods that draw reconstructions, the error on some val images is read while they train; nothing follows it.

    Killed and started again, it goes on from its newest checkpoint.

    Args:
        spec: the encoder, its options of stage train, and the seed.
        images: images.h5.
        device: where to compute.
        files: the files to write: `model`, `history` and `status`.
        resume: its checkpoints.
        tensorboard: folder for its logs, or None for no logs.

    Raises:
        UserError: labels are needed and there are none; and what `visrec.training.loop.train` raises.
    """
    from visrec.scoring.queries import first_by_digest
    from visrec.training import labels, loop, models, reconstruction
    from visrec.training.checkpoint import Checkpoints

    info, declared = read_image_info(images), registry.declared("encoders", spec.encoder)
    spec = _fitting(spec, info)
    identity = {
        "encoder": spec.encoder,
        "options": dict(spec.options),
        "seed": spec.seed,
        "images": info.fingerprint,
        "code": resume.code,
        "device": device.type,
        "labels": declared.get("LABELS", False),
        "unlabelled": declared.get("UNLABELLED", True),
        "limits": registry.limits(spec.encoder),
    }
    pictures = read_images(images, "train")
    if declared.get("LABELS") and not (pictures.labels >= 0).any():
        raise UserError(f"{spec.encoder}: is trained with labels, and no training image has one; leave it out")
    if declared.get("LABELS") and len(np.unique(pictures.labels[pictures.labels >= 0])) == 1:
        raise UserError(f"{spec.encoder}: is trained with labels, and all are of one class; leave it out")
    unseen = None
    if "reconstructions" in declared.get("PICTURES", ()) and info.counts["val"]:
        val = read_images(images, "val")
        unseen = val.images[np.sort(first_by_digest(val.ids, reconstruction.IMAGES))]
    used, known = pictures.images, None
    if declared.get("LABELS"):
        known = labels.shown(pictures.labels, pictures.ids, spec.options["label_share"], spec.seed)
        if not declared.get("UNLABELLED", True) and (known < 0).any():
            used, known = used[known >= 0], known[known >= 0]
            if len(used) < spec.options["batch"]:
                log.info(
                    "batches of %d in the place of %d: no more images are labelled", len(used), spec.options["batch"]
                )
                spec = spec._replace(options={**spec.options, "batch": len(used)})
    loop.train(
        registry.load("encoders", spec.encoder).Training,
        models.setup(spec, info, device),
        loop.Data(used, known, unseen),
        declared["READINGS"],
        loop.TrainingFiles(**files),
        Checkpoints(resume.folder, identity, resume.iterations, resume.minutes),
        Path(tensorboard) if tensorboard else None,
    )


def extractor(
    spec: Spec, model: str | Path | None, source: ImageFile, device: "torch.device"
) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function uint8 (B, 3, S, S), ids (B,) -> {layer: float32 (B, D_layer)} of any encoder.

    Args:
        spec: what made the model, with the options of stage embed.
        model: model.safetensors; None for encoders that have none.
        source: images.h5.
        device: where to compute.
    """
    if registry.is_trained(spec.encoder):
        # By its name, so that code fingerprints of encoders that are not trained do not follow it (`roots_of`).
        return importlib.import_module("visrec.training.models").extractor(spec, model, source, device)
    encoder = registry.load("encoders", spec.encoder)
    return encoder.extractor(Path(model) if model else None, source, spec.options, spec.seed, device)


def digests(spec: Spec) -> dict[str, str]:
    """SHA-256 of the files that make features of new pictures, by the option that names them (FILES).

    Raises:
        UserError: a file is missing.
    """
    declared, found = registry.declared("encoders", spec.encoder), {}
    for option in declared.get("FILES", ()) if declared.get("NEW_PICTURES", True) else ():
        path = Path(spec.options[option])
        if spec.options[option] and not path.is_file():
            raise UserError(f"{spec.encoder}: {path}: there is no such file; correct `{option}` in the config")
        if spec.options[option]:
            with path.open("rb") as file:
                found[option] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def embed(
    spec: Spec,
    images: str | Path,
    model: Model | None,
    device: "torch.device",
    files: EmbeddingFiles,
    dtype: str = "float32",
    commit: str | None = None,
) -> None:
    """Embed all images of all splits; write embeddings.h5, the table of its layers and what it cost.

    `seconds` in the cost are of reading the pictures from images.h5 and computing their features, all splits together;
    imports, the loading of the network, the re-estimation of batch norm and the writing of embeddings.h5 do not count.

    Args:
        spec: the encoder, all its options, and the seed.
        images: images.h5.
        model: what `fit` or `train` wrote, or None for an encoder that has neither. A status other than "ok" is passed
            on, with no features.
        device: where to compute.
        files: the files to write. The cost is JSON: images, seconds, images_per_second (null if there are no features),
            device, precision, threads, host, torch, commit, gpu_memory_mb, warnings (sentences on features that say
            nothing).
        dtype: of the features in embeddings.h5, "float32" or "float16"; they are computed in float32.
        commit: of the code, to be kept in the cost; None outside a checkout.

    Raises:
        UserError: a feature is not finite though the status is "ok", or is too large for `dtype`.
    """
    import torch

    status = model.status_of() if model else "ok"
    batches: dict[str, Iterator[dict[str, np.ndarray]]] = {}
    spent = {"images": 0, "seconds": 0.0}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if status == "ok":
        source = ImageFile(images)
        extract = extractor(spec, model.file if model else None, source, device)
        batches = {split: _batches(source, split, extract, spent) for split in SPLITS}
    else:
        log.warning("training ended as '%s': no features", status)
    made_by = {
        "encoder": spec.encoder,
        "options": _fitting(spec, read_image_info(images)).options,
        "seed": spec.seed,
        "seen": "train",
        "files": digests(spec),
    }
    warnings = write_embeddings(files.embeddings, images, batches, spec=made_by, status=status, dtype=dtype)
    layers.write(files.embeddings, files.layers)
    gpu_memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    write_json(
        files.cost,
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
            "warnings": warnings,
        },
    )
    if model:
        model.forget_checkpoints()


def _batches(
    source: ImageFile,
    split: str,
    extract: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]],
    spent: dict[str, float],
) -> Iterator[dict[str, np.ndarray]]:
    began = time.perf_counter()
    images, ids = source.images(split), source.ids(split)
    spent["seconds"] += time.perf_counter() - began
    with progress.bar(total=len(ids), desc=f"embedding {split}", unit="img") as bar:
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            began = time.perf_counter()
            features = extract(images[part], ids[part])  # arrays of the CPU: a GPU is done with them
            spent["seconds"] += time.perf_counter() - began
            spent["images"] += len(ids[part])
            yield features
            bar.update(len(ids[part]))
