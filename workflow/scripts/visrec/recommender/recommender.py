"""A finished trial as a recommender: embed new pictures, and find the nearest pictures of a gallery."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from visrec.data.embeddings import layers_of
from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.data.images import ImageFile, read_image_info
from visrec.encoders import digests, extractor
from visrec.errors import UserError
from visrec.experiment import registry
from visrec.experiment.trials import Spec
from visrec.jobs.fingerprint import fingerprint
from visrec.jobs.job import device as device_of
from visrec.recommender import catalogue, index
from visrec.recommender.choice import embeds_new_pictures
from visrec.recommender.embedder import Embedder
from visrec.recommender.feature_cache import FeatureCache
from visrec.report.headline import HEADLINE_SPACE
from visrec.scoring import transforms

BATCH = 256


@dataclass(frozen=True)
class Found:
    """The k nearest gallery pictures of Q queries, nearest first.

    Attributes:
        rows: int64 (Q, k), of the gallery.
        ids: str (Q, k).
        paths: Q lists of k; "" where a picture has no path; the alphabetically first of several.
        labels: Q lists of k class names; "" = none.
        distances: float64 (Q, k), L2 between features as they are compared.
    """

    rows: np.ndarray
    ids: np.ndarray
    paths: list[list[str]]
    labels: list[list[str]]
    distances: np.ndarray


class Recommender:
    """A finished trial with a gallery, which is read and brought up to date at the first search.

    Args:
        folder: of the trial, with its embeddings.h5; images.h5 is two levels up.
        gallery_folder: a folder of pictures; None: the training images.
        label: the gallery's paths -> path -> class name, see `visrec.recommender.catalogue.parents`.
        space: what of the features is compared, one of `transforms.SEARCHED`, and by which distance, "l2" or
            "cosine"; see `visrec.scoring.transforms`.
        device: "auto", "cpu" or "cuda".
        threads: that decode and search; None: as many as torch uses.
        approximate: the largest gallery that is searched exactly, and the share of the true neighbours to find in a
            larger one.

    Raises:
        UserError: the trial is not finished, its training did not end well, or its encoder embeds no new pictures.
    """

    def __init__(
        self,
        folder: str | Path,
        gallery_folder: str | Path | None = None,
        *,
        label: Callable[[Sequence[str]], Mapping[str, str]] = catalogue.parents,
        space: tuple[str, str] = HEADLINE_SPACE,
        device: str = "auto",
        threads: int | None = None,
        approximate: tuple[int, float] = (200_000, 0.95),
    ):
        self.folder = Path(folder).absolute()
        self.images = self.folder.parents[1] / "images.h5"
        self._root, self._label = gallery_folder, label
        self._device = device_of(device)
        self.threads = threads or torch.get_num_threads()
        self._search = index.SearchOptions(*approximate, self.threads, self._device)
        if space[0] not in transforms.SEARCHED or space[1] not in transforms.DISTANCES:
            raise UserError(
                f"{self.folder}: cannot recommend by '{space[0]}' and '{space[1]}'; name "
                f"{' or '.join(transforms.SEARCHED)}, and {' or '.join(transforms.DISTANCES)}"
            )
        self._indexes: dict[int, index.Index] = {}
        path = self.folder / "embeddings.h5"
        if not path.exists():
            raise UserError(f"{path}: is missing; let `snakemake` make it, or name the folder of another trial")
        with reading(path, EMBEDDINGS) as file:
            self.spec, self.status = json.loads(file.attrs["spec"]), str(file.attrs["status"])
            self.width, self._layers = file["train/features"].shape[1], layers_of(file)
            self._images_fingerprint = str(file.attrs["images_fingerprint"])
        self.space = space if len(self._layers) > 1 else ("raw", space[1])  # one layer is its own output
        if self.status != "ok":
            raise UserError(
                f"{self.folder}: training ended as '{self.status}', so it cannot embed pictures; name another trial"
            )
        if not embeds_new_pictures(self.spec["encoder"]):
            raise UserError(
                f"{self.folder}: encoder '{self.spec['encoder']}' cannot embed new pictures; name a trial of another "
                "encoder"
            )
        info = read_image_info(self.images)
        if info.fingerprint != self._images_fingerprint:
            raise UserError(
                f"{path}: was made from other pictures than those in {self.images} now; run `snakemake` again"
            )
        self.size = info.size
        for option, digest in digests(self._made_by).items():
            if digest != self.spec.get("files", {}).get(option):
                raise UserError(
                    f"{path}: was made with another file than `{option}` names now, {self.spec['options'][option]}; "
                    "run `snakemake` again"
                )

    @property
    def _model(self) -> Path | None:
        stage = registry.declared("encoders", self.spec["encoder"]).get("STAGE")
        return self.folder / "model.safetensors" if stage else None

    @functools.cached_property
    def identity(self) -> str:
        """A text that changes with all that features depend on: network, options, training images, code."""
        encoder = self.spec["encoder"]
        code = fingerprint(None, *registry.roots_of(encoder, "extractor"), "data.pictures:decode")
        model = hashlib.sha256(self._model.read_bytes()).hexdigest() if self._model else ""
        parts = [json.dumps(self.spec, sort_keys=True), str(self.size), self._images_fingerprint, model, code]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def _extract(self) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
        return extractor(self._made_by, self._model, ImageFile(self.images), self._device)

    @property
    def _made_by(self) -> Spec:
        return Spec(self.spec["encoder"], self.spec["options"], self.spec["seed"])

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

    def compared(self, features: np.ndarray) -> np.ndarray:
        """Features as they are compared.

        Args:
            features: float32 (N, D), from `embed`.

        Returns:
            float32 (N, D'), or `features` itself where all of them are compared as they are.
        """
        kind, distance = self.space
        change = transforms.fit(kind, np.empty((0, self.width), np.float32), self._layers)  # neither kind fits anything
        return transforms.mapped(change, transforms.DISTANCES[distance].map, features)

    @property
    def embedder(self) -> Embedder:
        """Embeds many pictures, and goes on where one cannot be read."""
        return Embedder(self.size, self.width, self.features, self.threads)

    def embed(self, pictures: Sequence[str | Path | bytes]) -> np.ndarray:
        """Features of pictures, resized to the trial's size by `visrec.data.pictures.decode`.

        Args:
            pictures: paths of files, or their bytes.

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
        for (name, _), (vector, reason) in zip(items, self.embedder.embed(items, "embedding"), strict=True):
            if reason:
                raise UserError(f"{name}: {reason}; leave it out")
            vectors.append(vector)
        return np.stack(vectors) if vectors else np.empty((0, self.width), np.float32)

    @functools.cached_property
    def gallery(self) -> catalogue.Gallery:
        """The pictures that are recommended, with features as they are compared.

        New pictures of a folder are embedded, once: what is kept of them does not depend on the space.

        Raises:
            UserError: there is no such folder, or no picture in it can be read.
        """
        if self._root is None:
            gallery = catalogue.trained_on(self.folder / "embeddings.h5")
        else:
            cache = FeatureCache(self._gallery_folder, self.identity)
            gallery = catalogue.update(self._root, cache, self.embedder, self._label)
        if self.space == HEADLINE_SPACE:
            return gallery
        identity = " ".join([gallery.identity, *self.space])
        # Dividing by the length moves a picture as far again as storing did, at most.
        rounding = gallery.rounding * (2 if self.space[1] == "cosine" else 1)
        return replace(gallery, features=self.compared(gallery.features), identity=identity, rounding=rounding)

    @property
    def _gallery_folder(self) -> Path:
        """For the cached features and the index; each folder of pictures has its own."""
        if self._root is None:
            return self.folder / "gallery" / "training-images"
        root = Path(self._root).resolve()
        return self.folder / "gallery" / hashlib.sha256(str(root).encode()).hexdigest()[:16]

    def index(self, k: int) -> index.Index:
        """The gallery's index; where it is approximate, its recall is measured at k."""
        k = k if len(self.gallery.ids) > self._search.limit else 1  # an exact one is the same for every k
        if k not in self._indexes:
            built = index.build(self.gallery.features, k, self._gallery_folder, self.gallery.identity, self._search)
            self._indexes = {k: built}  # only the last one is kept: its cells may be large
        return self._indexes[k]

    def search(self, features: np.ndarray, k: int = 10) -> Found:
        """The k nearest pictures of the gallery.

        Args:
            features: float32 (Q, D), from `embed`.
            k: at least 1; a smaller gallery gives all its pictures.
        """
        gallery = self.gallery
        k = min(k, len(gallery.ids))
        rows, distances = self.index(k).search(self.compared(np.ascontiguousarray(features, np.float32)), k)
        root = gallery.root or Path()
        return Found(
            rows=rows,
            ids=gallery.ids[rows],
            paths=[
                [str(root / gallery.paths[row][0]) if gallery.paths[row] else "" for row in nearest] for nearest in rows
            ],
            labels=[[gallery.labels[row] for row in nearest] for nearest in rows],
            distances=distances,
        )
