"""Fetch one file over HTTP: resumed where it broke off, retried, and put in place only when its checksum is right."""

import contextlib
import errno
import logging
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import requests

from visrec.data import archives
from visrec.errors import UserError
from visrec.jobs import progress

ATTEMPTS = 5  # in a row without a single new byte
PAUSE = 1.0  # s before the second attempt, doubled before each further one
TIMEOUT = (10.0, 60.0)  # s to connect, s without a byte
CHUNK = 2**16  # bytes; of a broken connection, what is less than a chunk is lost
LONGEST_PAUSE = 60.0
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be gone at the next attempt

log = logging.getLogger(__name__)


class _BrokenOffError(Exception):
    """The download broke off in a way that another attempt may mend.

    Attributes:
        pause: s the server asked to wait, if it did.
    """

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


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

    What has arrived is kept in `<out>.part`, and what the server calls that version of it in `<out>.part.version`. A
    later call goes on from there if the file is still the same on the server and the server can send a part of it;
    otherwise it starts over.

    Args:
        url: http or https.
        out: the file; its folder is made if missing.
        checksum: "md5:..." or "sha256:...", found right before the file gets its name.
        size_bytes: published size, for the progress bar where the server does not say. The checksum decides, not this.
        timeout: s to connect, s without a byte.
        attempts: how many in a row may bring nothing new.
        pause: s before the second attempt, doubled before each further one.

    Raises:
        UserError: no network, a status like 404, a wrong checksum, a full disk. Only what can be resumed is left.
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
            # The two halves may be of different versions, if the server does not tell versions apart.
            log.warning("%s: does not fit what an earlier download had left; starting over", url)
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else f"cannot be written ({error.strerror})"
        need = f" ({size_bytes:,} bytes are needed)" if full and size_bytes else ""
        raise UserError(f"{out}: {reason}{need}; make room or choose another folder, and run again") from error


class _Download:
    """The state of one download.

    Attributes:
        part: what has arrived.
        version: two lines: the URL, and what the server calls this version of the file (see `_validator`).
    """

    def __init__(self, url: str, out: Path, size_bytes: int | None, timeout: tuple[float, float]) -> None:
        self.url, self.size_bytes, self.timeout = url, size_bytes, timeout
        self.part = out.with_name(f"{out.name}.part")
        self.version = out.with_name(f"{out.name}.part.version")
        self.validator = ""

    def resume(self) -> bool:
        """Find out whether an earlier download can go on; forget it if not."""
        if self.version.exists() and self.part.exists():
            url, _, self.validator = self.version.read_text(encoding="utf-8").partition("\n")
            if url == self.url and self.part.stat().st_size:
                return True
        self.forget()
        return False

    def forget(self) -> None:
        """Remove what has arrived."""
        self.part.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)
        self.validator = ""

    def have(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, attempts: int, pause: float) -> None:
        """Fetch until the file is whole."""
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
                            f"{self.url}: cannot be downloaded ({error}); run again where there is a network (it goes "
                            "on where it stopped), or fetch the file by hand and name it under `archives:`"
                        ) from error
                    wait = min(max(pause * 2 ** (fruitless - 1), error.pause), LONGEST_PAUSE)
                    log.warning("%s: %s; trying again in %.0f s", self.url, error, wait)
                    time.sleep(wait)

    def _attempt(self, session: requests.Session) -> None:
        """Ask for what is missing and add it.

        Raises:
            _BrokenOffError: it broke off and may be tried again.
            UserError: there is no use in trying again.
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
                    return  # it was whole already
                self._check_status(response, start)
                if response.status_code == 206 and not self._continues(response, start):
                    self.forget()
                    raise _BrokenOffError("the file has changed on the server")
                self._save(response, start if response.status_code == 206 else 0)
        except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
            raise UserError(f"{self.url}: cannot be downloaded ({_reason(error)}); correct the address") from error
        except requests.exceptions.SSLError as error:
            raise UserError(
                f"{self.url}: the server's certificate is not accepted ({_reason(error)}); fetch the file by hand and "
                "name it under `archives:`"
            ) from error
        except requests.RequestException as error:
            raise _BrokenOffError(_reason(error)) from error

    def _check_status(self, response: requests.Response, start: int) -> None:
        status = response.status_code
        if status == 416 and start:  # what has arrived is longer than the file is now
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
        """Whether a partial answer starts where the part ends, and is of the same version."""
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
    """What the server calls this version of the file, in a form that `If-Range` takes; "" for nothing.

    That is a strong ETag, else the date of the last change (RFC 9110, section 13.1.5).
    """
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _reason(error: Exception) -> str:
    """The innermost cause of a library's error, on one line."""
    while (inner := error.__cause__ or error.__context__ or (error.args[0] if error.args else None)) is not None:
        inner = getattr(inner, "reason", None) or inner
        if not isinstance(inner, Exception):
            break
        error = inner
    return " ".join(str(error).split()) or type(error).__name__
