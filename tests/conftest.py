"""A browser for the tests that click through pages, Chromium without a network; and a small disk."""

import os
import shutil
import subprocess
from collections import defaultdict

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


def pytest_collection_modifyitems(items):
    """The workflow first: workers share out the many short tests that are left, and none is alone with a long one."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


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


@pytest.fixture(scope="session")
def idle(browser):
    """Pages that no test looks at, by what their context was made with: to start one takes longer than most tests."""
    return defaultdict(list)


@pytest.fixture
def open_page(browser, idle):
    """A function that opens a local page: `open_page(path, width=1280, **context)` gives Playwright's page.

    `context` is what `browser.new_context` takes, such as `color_scheme="dark"`. The test fails in the end if a page
    asked for anything that is not in its own file, or wrote an error to the console.
    """
    pages, wrong = [], []

    def open_one(path, width=1280, height=900, **context):
        own = path.absolute().as_uri()
        listeners = {
            "console": lambda message: wrong.append(message.text) if message.type == "error" else None,
            "pageerror": lambda error: wrong.append(str(error)),
            "request": lambda request: None if is_own(request.url, own) else wrong.append(request.url),
        }
        kind = tuple(sorted(context.items()))
        page = idle[kind].pop() if idle[kind] else browser.new_context(offline=True, **context).new_page()
        pages.append((page, kind, listeners))
        page.set_viewport_size({"width": width, "height": height})
        for event, listener in listeners.items():
            page.on(event, listener)
        page.goto(own)
        return page

    yield open_one
    for page, kind, listeners in pages:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.emulate_media(media="null")  # as it was
        page.mouse.move(-1, -1)
        page.goto("about:blank")
        idle[kind].append(page)
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
