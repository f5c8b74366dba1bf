"""The files of a model: what `fit` or `train` wrote.

model.safetensors has in its metadata the SHA-256 of all its tensors, which is checked when it is read; a file without
one is refused.
"""

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from visrec.data.files import read_json
from visrec.errors import UserError

# How a training may have ended for its features to be scored: they are finite, and differ from picture to picture.
USABLE = ("ok", "unstable")
CHECKPOINTS = "checkpoints"  # the folder beside a trained model
ENDED = (*USABLE, "collapsed", "diverged")
# What status.json and embed.json may hold beside `status`, all of it optional: null where it is not known.
TEXTS = ("reason", "device", "precision", "host", "torch", "commit")
AMOUNTS = ("iterations", "starts", "seconds", "images", "images_per_second", "threads")
AMOUNTS += ("memory_mb", "gpu_memory_mb", "reconstruction_error")


@dataclass(frozen=True)
class Model:
    """A model, and how its training ended.

    Attributes:
        file: model.safetensors.
        status: status.json beside it.
    """

    file: Path
    status: Path

    def status_of(self) -> str:
        """How the training ended, as far as features go: "ok" if they are scored, else "collapsed" or "diverged".

        Raises:
            UserError: status.json is missing or damaged.
        """
        status = read_facts(self.status).get("status")
        if status is None:
            raise UserError(f"{self.status}: does not say how the training ended; delete it and run again")
        return "ok" if status in USABLE else status

    def forget_checkpoints(self) -> None:
        """Remove what a finished training has left to be safe, unless it is trained again at this moment.

        Jobs that read the model run only after Snakemake has accepted it.
        """
        folder = self.file.parent / CHECKPOINTS
        if folder.is_dir() and not (folder / "claim.json").exists():
            for path in [*folder.glob("[0-9]*.safetensors"), *folder.glob(".*.tmp*")]:
                path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: what others put there stays
                folder.rmdir()


def read_facts(path: str | Path) -> dict[str, Any]:
    """What status.json or embed.json says: how a training ended, what it cost and what it ran on.

    Raises:
        UserError: the file is missing or damaged.
    """
    found = read_json(path)
    parameters = found.get("parameters", {})
    right = {
        "status": found.get("status", "ok") in ENDED,
        "parameters": isinstance(parameters, dict) and all(map(_is_amount, parameters.values())),
        "warnings": isinstance(found.get("warnings", []), list),
        **{name: found.get(name) is None or isinstance(found[name], str) for name in TEXTS},
        **{name: found.get(name) is None or _is_amount(found[name]) for name in AMOUNTS},
    }
    wrong = [name for name, is_right in right.items() if not is_right]
    if wrong:
        raise UserError(f"{path}: '{wrong[0]}' is {str(found[wrong[0]])[:40]!r}; delete the file and run again")
    return found


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def packed(weights: Mapping[str, np.ndarray]) -> bytes:
    """The content of a model.safetensors."""
    return safetensors.numpy.save(dict(weights), {"sha256": _digest(weights)})


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a model.safetensors by name, in the order of the file.

    Raises:
        UserError: the file is missing or damaged, or has no checksum.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            checksum = (file.metadata() or {}).get("sha256")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as a model ({reason}); delete it and run again") from error
    if checksum is None:
        raise UserError(f"{path}: has no checksum, so this version did not write it; delete it and run again")
    if checksum != _digest(weights):
        raise UserError(f"{path}: is damaged, its checksum does not fit; delete it and run again")
    return weights


def _digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {values.dtype} {weights[name].shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()
