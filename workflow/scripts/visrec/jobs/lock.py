"""One Snakemake at a time on the results of an experiment, whatever checkout it runs in.

Snakemake's own lock is in the checkout, so two checkouts on one folder of results (by a link, say) do not see each
other: they would train the same trials, and each delete the other's files. The lock is a folder in the results,
`.lock`, with a file for each Snakemake, all of one checkout: among those Snakemake's own lock decides. It comes into
being by one rename, which also network file systems do whole or not at all.

Who was killed leaves its file behind. On the same machine its process is gone; on another one its Slurm job is over, if
it was in one, or its file has not been touched for a while. Its jobs may be in Slurm's queue still, and the lock holds.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from visrec.errors import FULL, REFUSED, UserError, writing
from visrec.jobs import slurm_queue
from visrec.jobs.claims import Claim

NAME = ".lock"
BEAT = 60.0  # seconds between two signs of life
ATTEMPTS, PAUSE = 100, 0.05  # to enter where others come and go, and seconds between two
SILENT = 15 * 60.0  # seconds without one after which a Snakemake on another machine is dead


@dataclass(frozen=True)
class Holder(Claim):
    """A Snakemake that works on the results.

    Attributes:
        folder: its checkout.
        run: Slurm run id, or None where its jobs run on its own machine.
    """

    folder: str
    run: str | None

    def __post_init__(self) -> None:
        """Check what was read from a file.

        Raises:
            TypeError: it is no holder.
        """
        super().__post_init__()
        if not (isinstance(self.folder, str) and isinstance(self.run, str | None)):
            raise TypeError("its values are not those of a run")


def take(results: Path, run: str | None = None) -> Callable[[], None]:
    """Lock the results of an experiment for this process; returns a function that gives them back.

    Args:
        results: folder of the experiment; made if it is not there.
        run: Slurm run id.

    Raises:
        UserError: a Snakemake in another checkout works on them, or its jobs are in Slurm's queue; or the lock cannot
            be written.
    """
    me = Holder(**asdict(Claim.of_this_process()), folder=str(Path.cwd()), run=run)
    lock = results / NAME
    mine = lock / f"{me.token}.json"
    with writing(lock, FULL, REFUSED):
        results.mkdir(parents=True, exist_ok=True)
        for _ in range(ATTEMPTS):
            if _entered(results, me, mine):
                break
            time.sleep(PAUSE)
        else:
            there = ", ".join(sorted(path.name for path in lock.glob("*"))) or "no folder"
            raise UserError(
                f"{lock}: nobody holds it, and it cannot be taken away ({there}); have it deleted, with all in it"
            )
    ended = threading.Event()
    threading.Thread(target=_beat, args=(mine, ended), daemon=True).start()

    def release() -> None:
        ended.set()
        _remove(mine)

    return release


def runs(results: Path) -> set[str]:
    """Slurm run ids of the Snakemakes that work on some results, or were killed there."""
    try:
        return {holder.run for holder in _holders(results / NAME).values() if holder.run}
    except UserError:  # damaged, which a start says
        return set()


def _entered(results: Path, me: Holder, mine: Path) -> bool:
    """Whether this process has the lock now; False if somebody came or went meanwhile.

    Raises:
        UserError: somebody else has it.
    """
    lock = mine.parent
    new = Path(tempfile.mkdtemp(prefix=f"{NAME}.", dir=results))
    try:
        new.chmod(0o755)  # mkdtemp's are for their owner alone
        (new / mine.name).write_text(json.dumps(asdict(me)) + "\n", encoding="utf-8")
        now = (new / mine.name).stat().st_mtime  # by the clock of the file system
        with suppress(OSError):  # there is one already
            new.rename(lock)
            return True
        others = False
        for file, holder in _holders(lock).items():
            dead = _dead(file, holder, now)
            if dead:
                _remove(file)
            elif (holder.host, holder.folder) == (me.host, me.folder):
                others = True
            else:
                raise UserError(_refusal(results, file, holder))
        if not others:
            return False
        with suppress(FileNotFoundError):  # the last of the others has left
            (new / mine.name).rename(mine)
            foreign = [each for each in _holders(lock).values() if (each.host, each.folder) != (me.host, me.folder)]
            if not foreign:
                return True
            _remove(mine)
        return False
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _holders(lock: Path) -> dict[Path, Holder]:
    """File -> who wrote it.

    Raises:
        UserError: a file is none of a holder.
    """
    found = {}
    for file in sorted(lock.glob("*.json")):
        try:
            found[file] = Holder(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:  # it has left meanwhile
            continue
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{file}: is no lock ({error}); delete it and run again") from error
    return found


def _dead(file: Path, holder: Holder, now: float) -> bool:
    if holder.run and slurm_queue.of_run(holder.run):
        return False
    me = Claim.of_this_process()
    if holder.host == me.host:
        return not holder.lives_here()
    if holder.job and (holder.job == me.job or slurm_queue.is_over(holder.job)):  # the same job: Slurm put it back
        return True
    try:
        return now - file.stat().st_mtime > SILENT
    except FileNotFoundError:
        return True


def _refusal(results: Path, file: Path, holder: Holder) -> str:
    where = f"{results}: Snakemake works on these results from another checkout, {holder.folder} on {holder.host}"
    if holder.run and slurm_queue.of_run(holder.run):
        return (
            f"{where}, and its jobs are in Slurm's queue; wait for it, or stop it there with Ctrl-C; if it was killed, "
            f"run `make resume` there, or scancel --name={holder.run}"
        )
    return (
        f"{where} (process {holder.pid}); wait for it, or stop it there with Ctrl-C; if that machine is gone, "
        f"delete {file}"
    )


def _remove(file: Path) -> None:
    """Take a holder out, and the lock with the last one."""
    with suppress(OSError):
        file.unlink()
    with suppress(OSError):  # others have it
        file.parent.rmdir()


def _beat(file: Path, ended: threading.Event) -> None:
    """Show life until the end; a file system that does not answer for once is asked again."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(file)
