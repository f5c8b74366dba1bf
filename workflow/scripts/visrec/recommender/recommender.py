"""A trial that answers for new pictures: embed them, and find their nearest in a gallery."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.data.images import ImageFile, read_image_info
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.jobs.fingerprint import fingerprint
from visrec.jobs.job import device as device_of
from visrec.recommender import catalogue, index
from visrec.recommender.choice import embeds_new_pictures

BATCH = 256


@dataclass(frozen=True)
class Found:
    """The k nearest gallery pictures of Q queries, nearest first.

    Attributes:
        rows: int64 (Q, k), of the gallery.
        ids: str (Q, k).
        paths: Q lists of k; "" where the gallery's pictures have no path. Of several, the first in the alphabet.
        labels: Q lists of k class names; "" = none.
        distances: float64 (Q, k), L2.
    """

    rows: np.ndarray
    ids: np.ndarray
    paths: list[list[str]]
    labels: list[list[str]]
    distances: np.ndarray


class Recommender:
    """A trained trial with a gallery, which is read, and brought up to date, when it is first asked.

    Args:
        folder: of the trial, with its embeddings.h5; images.h5 is two levels up.
        gallery_folder: a folder of pictures; None: the training images.
        label: the gallery's paths -> path -> class name, see `visrec.recommender.catalogue.parents`.
        device: "auto", "cpu" or "cuda".
        threads: that decode and search; None: as many as torch takes.
        limit: the largest gallery that is searched exactly.
        recall: share of the true neighbours to find in a larger one.

    Raises:
        UserError: the trial is not finished, its training did not end well, or its encoder embeds no new pictures.
    """

    def __init__(
        self,
        folder: str | Path,
        gallery_folder: str | Path | None = None,
        *,
        label: Callable[[Sequence[str]], Mapping[str, str]] = catalogue.parents,
        device: str = "auto",
        threads: int | None = None,
        limit: int = 200_000,
        recall: float = 0.95,
    ):
        self.folder = Path(folder).absolute()
        self.images = self.folder.parents[1] / "images.h5"
        self._root, self._label = gallery_folder, label
        self._device, self._limit, self._recall = device_of(device), limit, recall
        self.threads = threads or torch.get_num_threads()
        self._indexes: dict[int, index.Index] = {}
        path = self.folder / "embeddings.h5"
        if not path.exists():
            raise UserError(f"{path}: is not there; let `snakemake` make it, and name the folder of a trial")
        with reading(path, EMBEDDINGS) as file:
            self.spec, self.status = json.loads(file.attrs["spec"]), str(file.attrs["status"])
            self.width = file["train/features"].shape[1]
            self._images_fingerprint = str(file.attrs["images_fingerprint"])
        if self.status != "ok":
            raise UserError(
                f"{self.folder}: training ended as '{self.status}', so it embeds nothing; name another trial"
            )
        if not embeds_new_pictures(self.spec["encoder"]):
            raise UserError(
                f"{self.folder}: encoder '{self.spec['encoder']}' has features of its dataset alone; name a trial of "
                "another encoder"
            )
        info = read_image_info(self.images)
        if info.fingerprint != self._images_fingerprint:
            raise UserError(f"{path}: was made of other pictures than {self.images} holds now; run `snakemake` again")
        self.size = info.size

    @property
    def _model(self) -> Path | None:
        stage = registry.declared("encoders", self.spec["encoder"]).get("STAGE")
        return self.folder / "encoder.safetensors" if stage else None

    @functools.cached_property
    def identity(self) -> str:
        """A text that changes when the features of a picture may change: network, options, training images, code."""
        encoder = self.spec["encoder"]
        code = fingerprint(None, f"encoders.{encoder}:extractor", "data.pictures:decode")
        model = hashlib.sha256(self._model.read_bytes()).hexdigest() if self._model else ""
        parts = [json.dumps(self.spec, sort_keys=True), str(self.size), self._images_fingerprint, model, code]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def _extract(self) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
        encoder = registry.load("encoders", self.spec["encoder"])
        source = ImageFile(self.images)
        return encoder.extractor(self._model, source, self.spec["options"], self.spec["seed"], self._device)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Uint8 (N, 3, S, S), RGB, of the trial's size -> float32 (N, D).

        Raises:
            UserError: a feature is not finite.
        """
        found = np.empty((len(images), self.width), np.float32)
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            names = np.array([f"new{row}" for row in range(start, start + len(part))])
            layers = self._extract(part, names).values()
            found[start : start + len(part)] = np.concatenate([np.asarray(each, np.float32) for each in layers], axis=1)
        if not np.isfinite(found).all():
            raise UserError(f"{self.folder}: a feature of a new picture is not finite; name another trial")
        return found

    def embed(self, pictures: Sequence[str | Path | bytes]) -> np.ndarray:
        """Features of pictures, brought to the trial's size as `visrec.data.pictures.decode` says.

        Args:
            pictures: files, or what is in them.

        Returns:
            float32 (N, D).

        Raises:
            UserError: one of them cannot be read as a picture, or a feature is not finite.
        """
        items = [
            (f"picture {row}", each) if isinstance(each, bytes) else (str(each), Path(each))
            for row, each in enumerate(pictures)
        ]
        vectors = []
        for (name, _), (vector, reason) in zip(
            items, catalogue.embedded(items, self.size, self.features, self.threads, "embedding"), strict=True
        ):
            if reason:
                raise UserError(f"{name}: {reason}; leave it out")
            vectors.append(vector)
        return np.stack(vectors) if vectors else np.empty((0, self.width), np.float32)

    @functools.cached_property
    def gallery(self) -> catalogue.Gallery:
        """The pictures that are recommended. Those of a folder that are new to it are embedded, once.

        Raises:
            UserError: there is no such folder, or no picture in it can be read.
        """
        if self._root is None:
            return catalogue.trained_on(self.folder / "embeddings.h5")
        return catalogue.kept(
            self._root,
            self._kept,
            self.identity,
            self.size,
            self.width,
            self.features,
            self._label,
            self.threads,
        )

    @property
    def _kept(self) -> Path:
        """Where shards and index of this gallery are: galleries of two folders do not push each other out."""
        if self._root is None:
            return self.folder / "gallery" / "training-images"
        root = Path(self._root).resolve()
        return self.folder / "gallery" / hashlib.sha256(str(root).encode()).hexdigest()[:16]

    def index(self, k: int) -> index.Index:
        """The gallery's index; where it is approximate, with a recall that was measured at k."""
        k = k if len(self.gallery.ids) > self._limit else 1  # an exact one is the same for every k
        if k not in self._indexes:
            made = index.build(
                self.gallery.features,
                k,
                self._kept,
                self.gallery.identity,
                limit=self._limit,
                recall=self._recall,
                threads=self.threads,
                device=self._device,
            )
            self._indexes = {k: made}  # the last one alone: its cells may be large
        return self._indexes[k]

    def search(self, features: np.ndarray, k: int = 10) -> Found:
        """The gallery's k nearest pictures.

        Args:
            features: float32 (Q, D), from `embed`.
            k: at least 1; fewer are found where the gallery has fewer.
        """
        here = self.gallery
        k = min(k, len(here.ids))
        rows, distances = self.index(k).search(np.ascontiguousarray(features, np.float32), k)
        root = here.root or Path()
        paths = [[str(root / here.paths[row][0]) if here.paths[row] else "" for row in found] for found in rows]
        return Found(rows, here.ids[rows], paths, [[here.labels[row] for row in found] for found in rows], distances)
