"""The files of a model: what `fit` or `train` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path


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
        """How the training ended: "ok", "collapsed" or "diverged"."""
        return json.loads(self.status.read_text(encoding="utf-8"))["status"]
