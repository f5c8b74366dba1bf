"""The files of a model: what `fit` or `train` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path

# How a training may have ended for its features to be scored: they are finite, and differ from picture to picture.
USABLE = ("ok", "unstable")


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
        """How the training ended, as far as features go: "ok" if they are scored, else "collapsed" or "diverged"."""
        status = json.loads(self.status.read_text(encoding="utf-8"))["status"]
        return "ok" if status in USABLE else status
