"""`make partial` beside a workflow that is running."""

import html
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from tiny import DIVERGED, HEALTHY, ROOT

from visrec.jobs import attempts
from visrec.report import FIGURES


def make_partial(checkout) -> subprocess.CompletedProcess:
    """What the Makefile runs, in a checkout that has been used and whose environment is that of the tests."""
    ready = checkout.folder / "ready"
    ready.touch()
    program = ["make", "--file", str(ROOT / "Makefile"), "--old-file", str(ready), f"READY={ready}", "partial"]
    return subprocess.run(
        [*program, f"BIN={Path(sys.executable).parent}", "CONFIG=tiny.yaml"],
        cwd=checkout.folder,
        env=os.environ | {"PYTHONPATH": str(checkout.folder / "workflow/scripts"), "SNAKEMAKE_PROFILE": "no/such"},
        capture_output=True,
        text=True,
        check=False,
    )


def dates(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and date of every file that is Snakemake's or of the full run."""
    # A dry run leaves what it saw in iocache; each run that follows drops it.
    names = ("results/tiny/partial", "results/tiny/logs", ".snakemake/log", ".snakemake/iocache")
    own = [folder / name for name in names]
    files = [path for top in ("results", ".snakemake") for path in (folder / top).rglob("*") if path.is_file()]
    files = [path for path in files if not set(own) & {*path.parents}]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_the_finished_trials_are_reported_while_the_workflow_runs(copy):
    place = copy.results / "digits/32px"
    (place / f"age/{HEALTHY}/svm.csv").unlink()
    attempts.say("error: out of luck; try again", copy.results / f"logs/evaluate/digits/32px/age/{HEALTHY}/svm.1.log")
    shutil.rmtree(place / "random")
    plan = copy.plan()
    locks = copy.folder / ".snakemake/locks"
    for name in ("0.input.lock", "0.output.lock"):  # as of a Snakemake that is making them
        (locks / name).write_text(f"results/tiny/digits/32px/age/{HEALTHY}/svm.csv\n")
    before = dates(copy.folder)

    done = make_partial(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 5 trials are finished; their report is at" in done.stderr
    page = html.unescape((copy.results / "partial/report/index.html").read_text())
    assert "Partial: 3 of 5 trials." in page
    assert "1 is waiting or being computed,\n1 failed." in page
    assert f"<code>digits/32px/age/{HEALTHY}</code> failed in evaluate at attempt 1: out of luck; try again" in page
    assert "snakemake --configfile tiny.yaml -- 'results/tiny/digits/32px/pca/seed~0/few_labels.csv'" in page

    whole, part = (pd.read_csv(copy.results / folder / "scores.csv") for folder in ("tables", "partial/tables"))
    assert set(part.trial + " of " + part.encoder) == {"seed~0 of pixels", "seed~0 of pca", f"{DIVERGED} of age"}
    left = whole[whole.encoder.isin(["pixels", "pca"]) | (whole.trial == DIVERGED)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, left)
    assert len(list((copy.results / "partial/figures/digits/32px").iterdir())) == len(FIGURES)

    assert dates(copy.folder) == before  # locks and records included
    assert copy.plan() == plan
