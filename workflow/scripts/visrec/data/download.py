"""Download one file over HTTP: resumed, retried, and renamed into place only once its checksum is right."""

import contextlib
import logging
import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from visrec.data import archives
from visrec.errors import UserError, cannot_write
from visrec.jobs import progress

ATTEMPTS = 5  # in a row without a single new byte
PAUSE = 1.0  # s before the second attempt, doubled before each further one
TIMEOUT = (10.0, 60.0)  # s to connect, s without a byte
CHUNK = 2**16  # bytes; when a connection breaks, less than a chunk is lost
LONGEST_PAUSE = 60.0
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are worth another attempt

log = logging.getLogger(__name__)


class _BrokenOffError(Exception):
    """The download was interrupted, and another attempt may succeed.

    Attributes:
        pause: s that the server asks to wait, 0 if it does not.
    """

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def fetch(archive: Mapping[str, Any], out: str | Path) -> None:
    """Download an archive as a dataset declares it, or say how it is fetched by hand.

    Args:
        archive: with `checksum`, and `url` or else `command`, which writes the file where it is run; `bytes`, optional.
        out: the file.

    Raises:
        UserError: as `download`; or the archive has no `url`.
    """
    out = Path(out)
    if "url" not in archive:
        raise UserError(
            f"{out}: has to be fetched by hand; run `{archive['command']}` and move the file there, or name its folder "
            "under `archives:`"
        )
    download(archive["url"], out, archive["checksum"], archive.get("bytes"))


def download(
    url: str,
    out: str | Path,
    checksum: str,
    size_bytes: int | None = None,
    *,
    timeout: tuple[float, float] = TIMEOUT,
    attempts: int = ATTEMPTS,
    pause: float = PAUSE,
) -> None:
    """Download a file, with a progress bar where there is a terminal.

    The bytes received so far are kept in `<out>.part`, and the server's name for that version of the file in
    `<out>.part.version`. A later call resumes from there if the file on the server is unchanged and the server can send
    parts; otherwise it starts over.

    Args:
        url: http or https.
        out: the file; its folder is made if missing.
        checksum: "md5:..." or "sha256:...", verified before the file gets its name.
        size_bytes: published size, for the progress bar if the server does not say. The checksum decides, not this.
        timeout: s to connect, s without a byte.
        attempts: how many in a row may bring no new byte.
        pause: s before the second attempt, doubled before each further one.

    Raises:
        UserError: no network, a status like 404, a wrong checksum, a full disk. Only files to resume from are left.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: only http and https can be downloaded; fetch it by hand and name it under `archives:`")
    out = Path(out)
    fetch = _Download(url, out, size_bytes, timeout)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        resumed = fetch.resume()
        fetch.run(attempts, pause)
        wrong = archives.mismatch(fetch.part, checksum)
        if wrong and resumed:
            # If the server does not name versions, the two halves may be of different ones.
            log.warning("%s: has changed since an earlier download was interrupted; starting over", url)
            fetch.forget()
            fetch.run(attempts, pause)
            wrong = archives.mismatch(fetch.part, checksum)
        if wrong:
            fetch.forget()
            raise UserError(
                f"{url}: what was downloaded {wrong}; try again later, or fetch the file by hand and name it under "
                "`archives:`"
            )
        with fetch.part.open("rb") as file:
            os.fsync(file.fileno())
        fetch.part.replace(out)
        fetch.version.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            fetch.forget()
        raise cannot_write(out, error, size_bytes) from error


class _Download:
    """The state of one download.

    Attributes:
        part: the file of the bytes received so far.
        version: a file of two lines: the URL, and the server's name for this version (see `_validator`).
    """

    def __init__(self, url: str, out: Path, size_bytes: int | None, timeout: tuple[float, float]) -> None:
        self.url, self.size_bytes, self.timeout = url, size_bytes, timeout
        self.part = out.with_name(f"{out.name}.part")
        self.version = out.with_name(f"{out.name}.part.version")
        self.validator = ""

    def resume(self) -> bool:
        """Whether an earlier download can be resumed; if not, its files are removed."""
        if self.version.exists() and self.part.exists():
            url, _, self.validator = self.version.read_text(encoding="utf-8").partition("\n")
            if url == self.url and self.part.stat().st_size:
                return True
        self.forget()
        return False

    def forget(self) -> None:
        """Remove the bytes received so far."""
        self.part.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)
        self.validator = ""

    def have(self) -> int:
        """Number of bytes received so far."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, attempts: int, pause: float) -> None:
        """Download until the file is complete."""
        with requests.Session() as session:
            fruitless, most = 0, self.have()
            while True:
                try:
                    return self._attempt(session)
                except _BrokenOffError as error:
                    fruitless = 1 if self.have() > most else fruitless + 1
                    most = max(most, self.have())
                    if fruitless >= attempts:
                        raise UserError(
                            f"{self.url}: cannot be downloaded ({error}); run again where there is a network (it "
                            "resumes where it stopped), or fetch the file by hand and name it under `archives:`"
                        ) from error
                    wait = min(max(pause * 2 ** (fruitless - 1), error.pause), LONGEST_PAUSE)
                    log.warning("%s: %s; trying again in %.0f s", self.url, error, wait)
                    time.sleep(wait)

    def _attempt(self, session: requests.Session) -> None:
        """Request the missing bytes and append them.

        Raises:
            _BrokenOffError: another attempt may succeed.
            UserError: another attempt is of no use.
        """
        start = self.have()
        headers = {"Accept-Encoding": "identity"}  # the file itself, not a compressed form of it
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.validator:
                headers["If-Range"] = self.validator
        try:
            with session.get(self.url, headers=headers, stream=True, timeout=self.timeout) as response:
                if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{start}":
                    return  # it was complete already
                self._check_status(response, start)
                if response.status_code == 206 and not self._continues(response, start):
                    self.forget()
                    raise _BrokenOffError("the file has changed on the server")
                self._save(response, start if response.status_code == 206 else 0)
        except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
            raise UserError(f"{self.url}: cannot be downloaded ({_reason(error)}); correct the address") from error
        except requests.RequestException as error:
            if isinstance(_innermost(error), ssl.SSLCertVerificationError):
                raise UserError(
                    f"{self.url}: the server's certificate is not accepted ({_reason(error)}); fetch the file by hand "
                    "and name it under `archives:`"
                ) from error
            raise _BrokenOffError(_reason(error)) from error

    def _check_status(self, response: requests.Response, start: int) -> None:
        status = response.status_code
        if status == 416 and start:  # more was received than the file has now
            self.forget()
            raise _BrokenOffError("the file has changed on the server")
        if status in PASSING:
            wait = response.headers.get("Retry-After", "")
            raise _BrokenOffError(f"HTTP status {status} {response.reason}", float(wait) if wait.isdigit() else 0.0)
        if status not in (200, 206):
            raise UserError(
                f"{self.url}: HTTP status {status} {response.reason}; correct the address, or fetch the file by hand "
                "and name it under `archives:`"
            )

    def _continues(self, response: requests.Response, start: int) -> bool:
        """Whether a partial response starts where `part` ends, and is of the same version."""
        same = not self.validator or _validator(response) in ("", self.validator)
        return same and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")

    def _save(self, response: requests.Response, start: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if start == 0:
            self.validator = _validator(response)
            self.part.write_bytes(b"")
            self.version.write_text(f"{self.url}\n{self.validator}", encoding="utf-8")
        bar = progress.bar(
            desc=self.part.name.removesuffix(".part"),
            total=total or self.size_bytes,
            initial=start,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=None,  # where there is no terminal
        )
        with self.part.open("ab") as file, bar:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and self.have() < total:
            raise _BrokenOffError(f"the connection ended after {self.have():,} of {total:,} bytes")


def _validator(response: requests.Response) -> str:
    """The server's name for this version of the file, as `If-Range` takes it; "" if there is none.

    A strong ETag, else the date of the last change (RFC 9110, section 13.1.5).
    """
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _innermost(error: BaseException) -> BaseException:
    """The cause of a library's error that has no cause itself."""
    links = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    inner = next((each for each in links if isinstance(each, BaseException)), None)
    return error if inner is None else _innermost(inner)


def _reason(error: Exception) -> str:
    """The innermost cause of a library's error, on one line."""
    cause = _innermost(error)
    return " ".join(str(cause).split()) or type(cause).__name__
