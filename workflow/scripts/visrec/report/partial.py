"""The report of the trials that are finished, while others may still be computed.

Finished is a trial of which every file that the tables, the figures and the report read is there; one that diverged
is, too. What is there is taken as it lies: whether it is up to date with config and code is for a full run to say.

A running workflow deletes and replaces files. So everything is made in a folder of its own, and takes the place of the
last partial report only if no file that was read has changed on the way.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visrec.errors import UserError
from visrec.experiment import status
from visrec.report import TABLES
from visrec.report.draws import folder
from visrec.report.figures.write import figures
from visrec.report.html import report
from visrec.report.tables import tables

log = logging.getLogger(__name__)

Identity = tuple[int, int] | None


def partial(
    results_dir: str | Path,
    trials: Sequence[Mapping[str, Any]],
    files: Sequence[str | Path],
    config: Mapping[str, Any],
    commit: str | None,
    configfiles: Sequence[str] = (),
    ladder_csv: str | Path | None = None,
) -> None:
    """Write tables/, figures/ and report/ of the finished trials under results_dir/partial/, as a full run would.

    Args:
        results_dir: results/{experiment}.
        trials: all of the experiment, as for `tables.tables`.
        files: what the tables, the figures and the report of all of them read.
        config: the experiment's config, checked.
        commit: as for `html.report`.
        configfiles: as for `html.report`.
        ladder_csv: as for `html.report`.

    Raises:
        UserError: no trial is finished, or a file was deleted or replaced while it was read. Nothing is written.
    """
    results = Path(results_dir)
    seen = {Path(file): identity(file) for file in files}
    found = finished(results, trials, [file for file, one in seen.items() if one is None])
    if not found:
        raise UserError(f"{results}: none of {len(trials)} trials is finished yet; `make status` says how far each is")
    folders = set().union(*(_folders(results, trial) for trial in found))
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=results) as scratch:
        new = Path(scratch) / "partial"
        with _undisturbed({file: one for file, one in seen.items() if file.parent in folders}):
            others = unfinished(status.table(config, results, status.queue()), found)
            about = {"commit": commit, "configfiles": configfiles, "unfinished": others, "ladder_csv": ladder_csv}
            _render(results, found, new, config, **about)
        if (results / "partial").exists():
            (results / "partial").rename(Path(scratch) / "old")
        new.rename(results / "partial")
    page = results / "partial/report/index.html"
    log.info("%d of %d trials are finished; their report is at %s", len(found), len(trials), page.resolve())


def _render(
    results: Path, trials: Sequence[Mapping[str, Any]], out: Path, config: Mapping[str, Any], **about: Any
) -> None:
    """Tables, figures and report of some trials below `out`; `about` is what `html.report` takes beside."""
    tables(results, trials, list(config["evaluators"]), {key: out / "tables" / name for key, name in TABLES.items()})
    figures(out / "tables", results, trials, out / "figures")
    report(
        results,
        config["experiment"],
        trials,
        out / "tables",
        out / "figures",
        out / "report/index.html",
        config,
        queries=config["report"]["queries"],
        neighbours=config["report"]["neighbours"],
        **about,
    )


@contextmanager
def _undisturbed(files: Mapping[Path, Identity]) -> Iterator[None]:
    """Refuse what was made meanwhile if a file was deleted or replaced, whatever error that led to, or none.

    Args:
        files: path -> `identity`.

    Raises:
        UserError: a file is not what it was.
    """
    again = "while the report was made, by a workflow that is running; run this again"
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: was deleted {again}") from error
    finally:
        for file, before in files.items():
            if identity(file) != before:
                raise UserError(f"{file}: was replaced or deleted {again}")


def finished(
    results_dir: str | Path, trials: Iterable[Mapping[str, Any]], missing: Iterable[Path]
) -> list[Mapping[str, Any]]:
    """The trials of which nothing is missing, neither in their folder nor in that of their pictures.

    Args:
        results_dir: results/{experiment}.
        trials: as for `tables.tables`.
        missing: files of the experiment that are not there.
    """
    lacking = {path.parent for path in missing}
    return [trial for trial in trials if not lacking & _folders(results_dir, trial)]


def unfinished(rows: Sequence[Mapping[str, str]], found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `html.report` says of the trials it does not show: `total`, `failed` (trial, how) and `open`, a number.

    Args:
        rows: of all trials, from `status.table`.
        found: the finished trials.
    """
    names = {str(folder("", trial)) for trial in found}
    others = [row for row in rows if row["trial"] not in names]
    failed = [(row["trial"], row["state"]) for row in others if row["state"].startswith("failed")]
    return {"total": len(rows), "failed": failed, "open": len(others) - len(failed)}


def identity(path: str | Path) -> Identity:
    """Inode and size of a file, None if it is not there. Not its date: Snakemake renews that once a job is done."""
    try:
        about = Path(path).stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_size


def _folders(results_dir: str | Path, trial: Mapping[str, Any]) -> set[Path]:
    """A trial's folder and the one of its pictures."""
    own = folder(results_dir, trial)
    return {own, own.parents[1]}
