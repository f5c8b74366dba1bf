"""Embeddings on paper: two principal components, and a map by t-SNE that keeps neighbours, of some test images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from visrec.data.files import atomic
from visrec.data.hdf5 import EMBEDDINGS, reading
from visrec.scoring.queries import choose_queries

TRUSTED = 5  # neighbours that trustworthiness looks at
FEWEST = 2 * TRUSTED + 1  # points for t-SNE and for trustworthiness, which is defined up to half their number
PERPLEXITY = 30.0
COMPONENTS = 50  # principal components that t-SNE starts from
COLUMNS = ["id", "label", "pca_x", "pca_y", "tsne_x", "tsne_y", "pca_trustworthiness", "tsne_trustworthiness"]


def write_projection(embeddings_path: str | Path, out_csv: str | Path, points: int) -> None:
    """Write where some test images lie in two dimensions as CSV, in the order of `choose_queries`.

    Columns: id, label (class name, empty without labels), pca_x, pca_y, tsne_x, tsne_y, and the trustworthiness of
    each of the two maps, the same in all rows. If training failed, there is only the header. Of fewer than 11 images,
    and of images that all have the same features, t-SNE and trustworthiness are empty.

    Args:
        embeddings_path: embeddings.h5.
        out_csv: the file to write.
        points: number of test images; all if there are fewer.

    Raises:
        UserError: embeddings.h5 cannot be read.
    """
    ids, labels, features = _read(embeddings_path, points)
    pca, tsne = principal(features), neighbour_map(features)
    columns = [ids, labels, *pca.T, *tsne.T, trust(features, pca), trust(features, tsne)]
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), columns=COLUMNS)
    with atomic(out_csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def _read(path: str | Path, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, class names and features, float64 (n, D), of the chosen test images; of none if training failed."""
    with reading(path, EMBEDDINGS) as file:
        test = file["test"]
        labels, ids = test["labels"][:], test["ids"].asstr()[:].astype(str)
        chosen = choose_queries(labels, ids, points if file.attrs["status"] == "ok" else 0)
        names = np.array([*json.loads(file.attrs["classes"]), ""], dtype=object)  # label -1 takes the last
        order = np.argsort(chosen)  # HDF5 reads rows in their order
        features = np.empty((len(chosen), test["features"].shape[1]))
        features[order] = test["features"][chosen[order]]
    return ids[chosen], names[labels[chosen]], features


def principal(features: np.ndarray) -> np.ndarray:
    """The first two principal components, float64 (n, 2); zeros where there are fewer.

    Args:
        features: float64 (n, D), finite.
    """
    place = np.zeros((len(features), 2))
    found = _components(features, 2)
    place[:, : found.shape[1]] = found
    return place


def neighbour_map(features: np.ndarray) -> np.ndarray:
    """A map by t-SNE, float64 (n, 2); NaN for fewer than `FEWEST` rows, or if all are the same.

    The seed is fixed and it starts from the principal components, so that the same features give the same map on one
    machine with one thread. Distances between far groups mean nothing.

    Args:
        features: float64 (n, D), finite.
    """
    if not _can_be_mapped(features):
        return np.full((len(features), 2), np.nan)
    start = principal(features)
    start *= 1e-4 / start[:, 0].std()  # as narrow as t-SNE wants it
    tsne = TSNE(init=start.astype(np.float32), perplexity=min(PERPLEXITY, (len(features) - 1) / 3), random_state=0)
    return tsne.fit_transform(_components(features, COMPONENTS)).astype(np.float64)


def trust(features: np.ndarray, place: np.ndarray) -> float:
    """Trustworthiness of a map in [0, 1]: whether the 5 nearest points on it are near among the features, too.

    Venna and Kaski 2001. NaN where it is not defined, or there is no map.

    Args:
        features: float64 (n, D).
        place: float64 (n, 2).
    """
    if not _can_be_mapped(features) or np.isnan(place).any():
        return float("nan")
    return float(trustworthiness(features, place, n_neighbors=TRUSTED))


def _can_be_mapped(features: np.ndarray) -> bool:
    return len(features) >= FEWEST and _vary(features)


def _vary(features: np.ndarray) -> bool:
    return len(features) > 0 and bool(np.ptp(features, axis=0).any())


def _components(features: np.ndarray, count: int) -> np.ndarray:
    """The leading principal components, float64 (n, min(count, n, D)); none where nothing varies."""
    if not _vary(features):
        return np.zeros((len(features), 0))
    return PCA(min(count, *features.shape), svd_solver="full").fit_transform(features)
