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
from visrec.experiment import layout, status
from visrec.experiment.layout import Experiment
from visrec.experiment.trials import Trial
from visrec.report import TABLES
from visrec.report.figures.write import figures
from visrec.report.html import report
from visrec.report.tables import tables

log = logging.getLogger(__name__)

Identity = tuple[int, int] | None


def partial(
    experiment: Experiment,
    config: Mapping[str, Any],
    commit: str | None,
    configfiles: Sequence[str] = (),
    ladder_csv: str | Path | None = None,
) -> None:
    """Write tables/, figures/ and report/ of the finished trials under {results}/partial/, as a full run would.

    Args:
        experiment: with all of its trials.
        config: the experiment's config, checked.
        commit: as for `html.report`.
        configfiles: as for `html.report`.
        ladder_csv: as for `html.report`.

    Raises:
        UserError: no trial is finished, or a file was deleted or replaced while it was read. Nothing is written.
    """
    results, total = experiment.results, len(experiment.trials)
    seen = {trial.folder: {file: identity(file) for file in files_of(experiment, trial)} for trial in experiment.trials}
    found = [trial for trial in experiment.trials if None not in seen[trial.folder].values()]
    if not found:
        raise UserError(f"{results}: none of {total} trials is finished yet; `make status` says how far each is")
    with tempfile.TemporaryDirectory(prefix=".partial.", dir=results) as scratch:
        new = Path(scratch) / "partial"
        with _undisturbed({file: one for trial in found for file, one in seen[trial.folder].items()}):
            others = unfinished(status.table(config, results, status.queue()), found)
            here = experiment.of(found)
            tables(here, {key: new / layout.TABLES / name for key, name in TABLES.items()})
            figures(new / layout.TABLES, results, found, new / layout.FIGURES)
            report(here, config, new, commit, configfiles, unfinished=others, ladder_csv=ladder_csv)
        if (results / "partial").exists():
            (results / "partial").rename(Path(scratch) / "old")
        new.rename(results / "partial")
    page = results / "partial" / layout.PAGE
    log.info("%d of %d trials are finished; their report is at %s", len(found), total, page.resolve())


def files_of(experiment: Experiment, trial: Trial) -> list[Path]:
    """What the tables, the figures and the report read of a trial; it is finished if they are all there."""
    names = layout.report_files(trial, experiment.evaluators)
    return [experiment.images(trial.dataset, trial.size), *(experiment.path(trial, name) for name in names)]


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


def unfinished(rows: Sequence[Mapping[str, str]], found: Iterable[Trial]) -> dict[str, Any]:
    """What `html.report` says of the trials it does not show: `total`, `failed` (trial, how) and `open`, a number.

    Args:
        rows: of all trials, from `status.table`.
        found: the finished trials.
    """
    names = {trial.folder for trial in found}
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
