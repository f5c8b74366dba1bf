"""A browser for the tests that click through pages, Chromium without a network; and a small disk."""

import os
import shutil
import subprocess

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="session")
def browser():
    """Chromium, once per process. Where `VISREC_BROWSER=required` is set, a missing one is an error."""
    if CHROMIUM is None:
        missing = "no Chromium on PATH (Debian: apt install chromium)"
        pytest.fail(missing) if os.environ.get("VISREC_BROWSER") == "required" else pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without its sandbox: as root, as in containers, Chromium does not start with it. Pages are our own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a local page: `open_page(path, width=1280, **context)` gives Playwright's page.

    `context` is what `browser.new_context` takes, such as `color_scheme="dark"`. The test fails in the end if a page
    asked for anything that is not in its own file, or wrote an error to the console.
    """
    contexts, wrong = [], []

    def open_one(path, width=1280, height=900, **context):
        own = path.absolute().as_uri()
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, offline=True, **context))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: None if is_own(request.url, own) else wrong.append(request.url))
        page.goto(own)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not wrong


def is_own(url, own):
    """Whether a request is for the page itself, or for what is inlined in it."""
    return url.split("#")[0] == own or url.startswith(("data:", "blob:"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
