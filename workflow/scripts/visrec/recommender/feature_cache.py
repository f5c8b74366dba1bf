"""Features of pictures that were embedded before, by the SHA-256 of their files.

They are kept in at most 256 files (shards), one for all hashes that begin with the same two digits:

    00.h5 .. ff.h5   hashes   bytes (n,), 64 hexadecimal digits, ascending
                     features float32 (n, D)
                     attributes `kind` and `identity`: what features depend on beside the pictures, such as the network

A shard of another `identity`, or of an earlier version that wrote no checksums, counts as empty. Each shard is written
atomically: a process that is killed loses at most one shard, and two processes at once only do the same work twice.

`files.json` keeps the hash of each file with its size, dates and inode, so that an unchanged file is not read again.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visrec.data.files import read_sealed, write_sealed
from visrec.data.hdf5 import reading, unsealed, writing
from visrec.jobs import progress

SHARD = "visrec gallery shard 1"
DIGITS = 2  # of the hash that name a shard
SETTLED = 2.0  # seconds after which a file that is written again gets another date
ABANDONED = 86_400.0  # seconds after which an unfinished file surely belongs to no running process


@dataclass(frozen=True)
class FeatureCache:
    """The features kept for one folder of pictures.

    Attributes:
        folder: of the shards and files.json.
        identity: what features depend on beside the pictures.
    """

    folder: Path
    identity: str

    def prepare(self) -> None:
        """Make the folder, and remove old unfinished files of processes that were killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.tmp*"):
            with suppress(FileNotFoundError):  # another process has renamed it since
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()

    def path(self, shard: str) -> Path:
        """The file of a shard."""
        return self.folder / f"{shard}.h5"

    def shards(self, hashes: Sequence[str]) -> list[str]:
        """Names of the shards that exist or that some hashes belong to, sorted."""
        existing = {path.stem for path in self.folder.glob(f"{'?' * DIGITS}.h5")}
        return sorted(existing | {digest[:DIGITS] for digest in hashes})

    def hashes(self, shard: str) -> list[str]:
        """The hashes in a shard, ascending; none if it does not exist or has another identity.

        Raises:
            UserError: the file is damaged.
        """
        return self._read(shard, features=False)[0]

    def features(self, shard: str) -> dict[str, np.ndarray]:
        """Hash -> features float32 (D,) of a shard, by ascending hash; {} if it does not exist or has another identity.

        Raises:
            UserError: the file is damaged.
        """
        hashes, features = self._read(shard, features=True)
        return dict(zip(hashes, features, strict=True))

    def _read(self, shard: str, features: bool) -> tuple[list[str], np.ndarray]:
        nothing = np.empty((0, 0), np.float32)
        with suppress(FileNotFoundError):  # there is none, or another process has removed it since
            if not unsealed(self.path(shard)):
                with reading(self.path(shard), SHARD) as file:
                    if file.attrs["identity"] == self.identity:
                        return [*file["hashes"].asstr()[:]], file["features"][:] if features else nothing
        return [], nothing

    def write(self, shard: str, hashes: Sequence[str], features: np.ndarray) -> None:
        """Replace a shard; one without hashes is removed.

        Args:
            shard: its name.
            hashes: ascending.
            features: float32 (n, D).
        """
        if not len(hashes):
            self.path(shard).unlink(missing_ok=True)
            return
        with writing(self.path(shard), SHARD) as file:
            file["hashes"] = np.array(hashes, dtype="S64")
            file["features"] = features
            file.attrs["identity"] = self.identity

    def file_hashes(
        self, root: Path, files: Sequence[str], threads: int
    ) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """SHA-256 of each file by its path, sorted, and (path, reason) of those that cannot be read.

        Args:
            root: the folder of pictures.
            files: paths relative to it.
            threads: that read.

        Raises:
            UserError: files.json is damaged.
        """
        remembered = self._remembered()
        hashes: dict[str, str] = {}
        unreadable, stamps, to_read = [], {}, []
        for path in files:
            try:
                entry = (root / path).stat()
            except OSError as error:
                unreadable.append((path, f"cannot be opened: {error.strerror}"))
                continue
            stamps[path] = [entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino]
            if path in remembered and remembered[path][:-1] == stamps[path]:
                hashes[path] = remembered[path][-1]
            else:
                to_read.append(path)
        with ThreadPoolExecutor(threads) as pool:
            results = pool.map(lambda path: _hash(root / path), to_read)
            bar = progress.bar(results, total=len(to_read), desc="reading the gallery", unit="img")
            for path, (digest, reason) in zip(to_read, bar, strict=True):
                if digest:
                    hashes[path] = digest
                else:
                    unreadable.append((path, reason))
        hashes = dict(sorted(hashes.items()))
        # A file that was written a moment ago may be written again with the same dates: it is read again next time.
        settled = (time.time() - SETTLED) * 1e9
        to_remember = {
            path: [*stamps[path], digest] for path, digest in hashes.items() if max(stamps[path][1:3]) < settled
        }
        if to_remember != remembered or not self._files_json.exists():
            write_sealed(self._files_json, to_remember)
        return hashes, unreadable

    @property
    def _files_json(self) -> Path:
        return self.folder / "files.json"

    def _remembered(self) -> dict[str, list]:
        """Path -> size, two dates in ns, inode and hash of each file, as of the last update."""
        return read_sealed(self._files_json)


def _hash(path: Path) -> tuple[str, str]:
    """(hash, "") or ("", reason)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", f"cannot be opened: {error.strerror}"
