"""How a training went so far: its readings, its end called by its name, and what it cost."""

import logging
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from visrec.jobs import progress
from visrec.training import symptoms
from visrec.training.readings import held, judge

log = logging.getLogger(__name__)

ESTIMATE_AFTER = 20  # iterations of this start, before the time that is left is estimated


@dataclass
class Course:
    """How a training went so far, over all its starts; kept with every checkpoint.

    Attributes:
        iteration: how many are done.
        history: the rows of history.csv.
        status: "ok", "diverged" or "collapsed"; at the end also "unstable".
        reason: why the status is not ok.
        starts: how often it was started, but for starts that ended before their first checkpoint.
        seconds: time in the loop, without what was lost when it was killed.
        memory: highest resident memory of any of its processes, bytes.
        gpu_memory: highest memory on the GPU, bytes.
        threads: of its last start; with others, or another torch, it goes on another way in the last bits.
        torch_version: there.
    """

    iteration: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    status: str = "ok"
    reason: str = ""
    starts: int = 0
    seconds: float = 0.0
    memory: int = 0
    gpu_memory: int = 0
    threads: int = 0
    torch_version: str = ""

    def start(self) -> None:
        """Start the clocks."""
        here = (torch.get_num_threads(), torch.__version__)
        if self.starts and here != (self.threads, self.torch_version):
            log.warning(
                "went so far with %d threads and torch %s, goes on with %d and %s: not bit by bit as in one go",
                self.threads,
                self.torch_version,
                *here,
            )
        self.threads, self.torch_version = here
        self.starts += 1
        self._start_clock = self._clock = self._read_clock = time.perf_counter()
        self._first = self._read_iteration = self.iteration
        self._warned: list[str] = []  # each start has a log of its own

    def read(self, measures: Mapping[str, float], rate: float, batch: int, readings: Mapping[str, Mapping]) -> None:
        """Append a row of history.csv, judge it, and warn of what is out of its healthy range, once each."""
        now = time.perf_counter()
        speed = (self.iteration - self._read_iteration) * batch / (now - self._read_clock)
        self._read_clock, self._read_iteration = now, self.iteration
        self.history.append(
            {"iteration": self.iteration, "learning_rate": rate, **measures, "images_per_second": speed}
        )
        self.status, self.reason = judge(self.history, readings)
        if self.status != "ok":
            log.warning("%s: %s", self.status, self.reason)
        symptoms.warn(self.history, readings, self._warned)

    def end(self, readings: Mapping[str, Mapping], made: Mapping[str, torch.Tensor]) -> None:
        """Judge a training that went to its end: whether it held, and whether the last update left what it `made`."""
        if self.status == "ok":
            lost = next((name for name, tensor in made.items() if not torch.isfinite(tensor).all()), None)
            if lost:
                self.status, self.reason = "diverged", f"{lost} is not finite after the last update"
            else:
                self.status, self.reason = held(self.history, readings)
            if self.status != "ok":
                log.warning("%s: %s", self.status, self.reason)

    def estimate(self, iterations: int) -> None:
        """Log once, after the first iterations of this start, how long the rest will take."""
        done = self.iteration - self._first
        if done == ESTIMATE_AFTER and self.iteration < iterations:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # what was launched is not yet done
            pace = (time.perf_counter() - self._start_clock) / done
            log.info(
                "%.2f iterations/s: about %s left", 1 / pace, progress.duration(pace * (iterations - self.iteration))
            )

    def record(self) -> dict[str, Any]:
        """All of it, with the costs up to now."""
        now = time.perf_counter()
        self.seconds += now - self._clock
        self._clock = now
        # Linux counts in kB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        self.memory = max(self.memory, unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if torch.cuda.is_initialized():
            self.gpu_memory = max(self.gpu_memory, torch.cuda.max_memory_allocated())
        return asdict(self)
