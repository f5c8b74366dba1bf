"""Against a server on 127.0.0.1 that misbehaves on demand."""

import contextlib
import errno
import hashlib
import logging
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from visrec.data import download as module
from visrec.data.download import download
from visrec.errors import UserError

BLOCK = module.CHUNK
DATA = hashlib.shake_128(b"archive").digest(1_000_000)
OTHER = hashlib.shake_128(b"another archive").digest(1_000_000)


def md5(data):
    return f"md5:{hashlib.md5(data).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """Serves `server.data` along the settings of the server; keeps the headers of each request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        self.close_connection = True
        if server.statuses:
            status, headers = server.statuses.pop(0)
            self.answer(status, b"no", headers)
            return
        time.sleep(server.delay)
        data, start = server.data, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        version = {"ETag": server.etag} if server.etag else {}
        if server.modified:
            version["Last-Modified"] = server.modified
        known = self.headers.get("If-Range")
        if wanted and server.ranges and (known is None or known in (server.etag, server.modified)):
            start = int(wanted[1])
            if start >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            span = {"Content-Range": f"bytes {start + server.shift}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[start:], version | span)
        else:
            self.answer(200, data, version)

    def answer(self, status, data, headers):
        cut = self.server.cuts.pop(0) if status in (200, 206) and self.server.cuts else len(data)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.length:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may be gone
            self.wfile.write(data[:cut])
        if cut < len(data) and self.server.stall:
            time.sleep(self.server.stall)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.data, server.etag, server.modified, server.ranges, server.length = DATA, '"one"', "", True, True
    server.cuts, server.statuses, server.requests = [], [], []
    server.delay = server.stall = server.shift = 0
    server.url = f"http://127.0.0.1:{server.server_port}/x.zip"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, out, checksum=None, **options):
    options = {"timeout": (2, 2), "attempts": 3, "pause": 0.01} | options
    download(getattr(server, "url", server), out, checksum or md5(DATA), **options)


def refused(server, out, match, **options):
    with pytest.raises(UserError, match=match) as error:
        fetch(server, out, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupted(server, out, at=6 * BLOCK, **options):
    """What a first download leaves that is cut at a byte, with a server that is gone afterwards."""
    server.cuts = [at]
    server.statuses = []
    with pytest.raises(UserError):
        fetch(server, out, attempts=1, **options)
    server.cuts = []
    server.requests.clear()
    return out.with_name("x.zip.part")


def test_an_archive_without_an_address_says_what_to_run(tmp_path):
    archive = {"command": "npm pack thing@1.0.0", "checksum": "sha256:" + "0" * 64}
    with pytest.raises(
        UserError, match=r"run `npm pack thing@1.0.0` and move the file there, or name .* `archives:`"
    ) as error:
        module.fetch(archive, tmp_path / "data/thing/thing-1.0.0.tgz")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_fetched_and_nothing_else_is_left(server, tmp_path):
    fetch(server, tmp_path / "deep" / "x.zip")
    assert (tmp_path / "deep" / "x.zip").read_bytes() == DATA
    assert left(tmp_path / "deep") == ["x.zip"]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert "Range" not in server.requests[0]


def test_a_file_without_a_length_is_fetched(server, tmp_path):
    server.length = False
    fetch(server, tmp_path / "x.zip", size_bytes=len(DATA))
    assert (tmp_path / "x.zip").read_bytes() == DATA


def test_cut_connections_are_resumed_in_the_same_call(server, tmp_path):
    server.cuts = [BLOCK, 3 * BLOCK, 1, 4 * BLOCK + 9]  # more than attempts, but most of them bring something
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert [request.get("Range") for request in server.requests] == [
        None,
        f"bytes={BLOCK}-",
        f"bytes={4 * BLOCK}-",
        f"bytes={4 * BLOCK}-",
        f"bytes={8 * BLOCK}-",
    ]
    assert {request.get("If-Range") for request in server.requests[1:]} == {'"one"'}


def test_a_later_call_goes_on(server, tmp_path):
    part = interrupted(server, tmp_path / "x.zip")
    assert part.read_bytes() == DATA[: 6 * BLOCK]
    assert left(tmp_path) == ["x.zip.part", "x.zip.part.version"]
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert [request["Range"] for request in server.requests] == [f"bytes={6 * BLOCK}-"]
    assert left(tmp_path) == ["x.zip"]


def test_a_date_stands_in_for_an_etag_that_is_weak_or_missing(server, tmp_path):
    for etag in ("", 'W/"one"'):
        server.etag, server.modified = etag, "Tue, 01 Dec 2015 10:00:00 GMT"
        interrupted(server, tmp_path / "x.zip")
        fetch(server, tmp_path / "x.zip")
        assert server.requests[0]["If-Range"] == "Tue, 01 Dec 2015 10:00:00 GMT"
        assert (tmp_path / "x.zip").read_bytes() == DATA


def test_a_file_that_changed_on_the_server_starts_over(server, tmp_path):
    interrupted(server, tmp_path / "x.zip")
    server.data, server.etag = OTHER, '"two"'
    fetch(server, tmp_path / "x.zip", md5(OTHER))
    assert (tmp_path / "x.zip").read_bytes() == OTHER
    assert len(server.requests) == 1  # the server sent the whole new file, and it was taken as that


def test_a_server_that_sends_the_rest_of_another_version_is_noticed(server, tmp_path, caplog):
    interrupted(server, tmp_path / "x.zip")
    server.data, server.etag = OTHER, '"two"'
    server.modified = '"one"'  # accepts the old version in If-Range, and still sends the new one
    with caplog.at_level(logging.WARNING):
        fetch(server, tmp_path / "x.zip", md5(OTHER))
    assert (tmp_path / "x.zip").read_bytes() == OTHER
    assert "the file has changed on the server" in caplog.text


def test_a_change_the_server_does_not_tell_is_noticed_by_the_checksum(server, tmp_path, caplog):
    server.etag = ""
    interrupted(server, tmp_path / "x.zip")
    server.data = OTHER
    with caplog.at_level(logging.WARNING):
        fetch(server, tmp_path / "x.zip", md5(OTHER))
    assert (tmp_path / "x.zip").read_bytes() == OTHER
    assert [request.get("Range") for request in server.requests] == [f"bytes={6 * BLOCK}-", None]
    assert "starting over" in caplog.text


def test_a_server_that_sends_another_part_than_asked_starts_over(server, tmp_path):
    interrupted(server, tmp_path / "x.zip")
    server.shift = 1
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert [request.get("Range") for request in server.requests] == [f"bytes={6 * BLOCK}-", None]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    server.cuts = [6 * BLOCK]
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert server.requests[1]["Range"] == f"bytes={6 * BLOCK}-"


def test_another_url_starts_over(server, tmp_path):
    interrupted(server, tmp_path / "x.zip")
    fetch(server.url.replace("x.zip", "mirror.zip"), tmp_path / "x.zip")
    assert "Range" not in server.requests[0]
    assert (tmp_path / "x.zip").read_bytes() == DATA


def test_a_part_of_unknown_origin_is_not_trusted(server, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(b"?" * 1000)
    fetch(server, tmp_path / "x.zip")
    assert "Range" not in server.requests[0]
    assert (tmp_path / "x.zip").read_bytes() == DATA


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    part = interrupted(server, tmp_path / "x.zip")
    part.write_bytes(DATA)
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert len(server.requests) == 1


def test_a_part_longer_than_the_file_starts_over(server, tmp_path):
    part = interrupted(server, tmp_path / "x.zip")
    part.write_bytes(DATA + b"more")
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_missing_file_is_not_tried_again(server, tmp_path, status):
    server.statuses = [(status, {})]
    message = refused(server, tmp_path / "x.zip", f"HTTP status {status} .*archives:")
    assert message.startswith(server.url)
    assert len(server.requests) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_passing_trouble_is_tried_again(server, tmp_path, status):
    server.statuses = [(status, {}), (status, {})]
    fetch(server, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert len(server.requests) == 3


def test_trouble_that_does_not_pass_ends(server, tmp_path):
    server.statuses = [(503, {})] * 10
    refused(server, tmp_path / "x.zip", "cannot be downloaded .HTTP status 503 .*archives:")
    assert len(server.requests) == 3
    assert left(tmp_path) == []


def test_pauses_double_and_follow_the_server(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pauses.append(seconds) if seconds else None)
    server.statuses = [(503, {}), (503, {}), (503, {"Retry-After": "7"}), (503, {"Retry-After": "9999"})]
    fetch(server, tmp_path / "x.zip", attempts=5, pause=1)
    assert pauses == [1, 2, 7, 60]


def test_a_server_that_answers_too_late_is_given_up(server, tmp_path):
    server.delay = 1
    refused(server, tmp_path / "x.zip", "timed out", timeout=(1, 0.1), attempts=2)
    assert left(tmp_path) == []


def test_a_server_that_stalls_is_resumed(server, tmp_path):
    server.cuts, server.stall = [4 * BLOCK], 1
    fetch(server, tmp_path / "x.zip", timeout=(1, 0.2))
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert server.requests[1]["Range"] == f"bytes={4 * BLOCK}-"


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    server.data = OTHER
    message = refused(server, tmp_path / "x.zip", f"wrong checksum: expected {md5(DATA)}, got {md5(OTHER)}")
    assert server.url in message
    assert left(tmp_path) == []
    assert len(server.requests) == 1


def test_an_error_page_is_called_that(server, tmp_path):
    server.data = b"<!DOCTYPE html><html>Quota exceeded</html>"
    refused(server, tmp_path / "x.zip", "is an HTML page .*archives:")
    assert left(tmp_path) == []


def test_no_network_is_one_line(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x.zip"
    message = refused(url, tmp_path / "x.zip", "Connection refused.*archives:")
    assert message.startswith(url)

    def no_names(*args, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    message = refused("http://nowhere.invalid/x.zip", tmp_path / "x.zip", "name resolution.*archives:", attempts=1)
    assert message.startswith("http://nowhere.invalid/x.zip")
    assert left(tmp_path) == []


def test_a_certificate_that_is_not_accepted_is_not_tried_again(server, tmp_path, monkeypatch):
    tried = []

    def refuse(*args, **options):
        tried.append(args)
        raise ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", refuse)
    url = server.url.replace("http:", "https:")
    refused(url, tmp_path / "x.zip", "certificate is not accepted .*has expired.*archives:")
    assert len(tried) == 1
    assert left(tmp_path) == []


def test_trouble_with_tls_that_is_not_of_a_certificate_is_tried_again(server, tmp_path, caplog):
    url = server.url.replace("http:", "https:")  # where plain HTTP is spoken, as by a proxy in the way
    message = refused(url, tmp_path / "x.zip", "cannot be downloaded .*archives:", attempts=3)
    assert "certificate is not accepted" not in message
    assert len(caplog.records) == 2


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "x.zip", "http://", "http://a b/"])
def test_other_addresses_are_refused(tmp_path, url):
    refused(url, tmp_path / "x.zip", re.escape(url))
    assert left(tmp_path) == []


class Full:
    """A file on a disk that is full after its first bytes."""

    def __init__(self, file, number):
        self.file, self.number = file, number

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        self.file.write(data[:1000])
        self.file.flush()
        raise OSError(self.number, "No space left on device")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path, monkeypatch, number):
    plain = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **more: Full(f, number) if (f := plain(path, mode, **more)) and "a" in mode else f,
    )
    message = refused(server, tmp_path / "x.zip", "x.zip: the disk is full .1,000,000 bytes", size_bytes=1_000_000)
    assert str(tmp_path) in message
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(server, tmp_path / "file" / "x.zip", "x.zip: cannot be written .(File exists|Not a directory)")


def test_a_published_size_that_is_wrong_does_not_matter(server, tmp_path):
    fetch(server, tmp_path / "x.zip", size_bytes=5)
    assert (tmp_path / "x.zip").read_bytes() == DATA
