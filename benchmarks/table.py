"""What the benchmarks have in common: runs in processes of their own, figures, and the table of many."""

import multiprocessing
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new process, so that its peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class Figure(NamedTuple):
    """One thing that was measured.

    Attributes:
        name: what was measured, and at which size.
        value: how much; the median where there were several runs.
        unit: of the value, such as "s" or "img/s".
        goal: what it should be, or "" where nothing was promised.
        peer: whom it is compared with, or "".
        peer_value: the peer's, in the same unit, measured in the same run.
        more_is_better: whether large values are good.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    peer: str = ""
    peer_value: float | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer, or None without a peer."""
        if self.peer_value is None:
            return None
        return self.value / self.peer_value if self.more_is_better else self.peer_value / self.value


def machine() -> str:
    """Processor, cores and versions, in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {cores} cores, Python {platform.python_version()}, {versions}"


def table(found: Mapping[str, Iterable[Figure]]) -> str:
    """Figures of benchmarks by name as a Markdown table."""
    lines = ["| | figure | value | goal | peer | times better |", "|---|---|---|---|---|---|"]
    for benchmark, figures in found.items():
        for each in figures:
            peer = "" if each.peer_value is None else f"{each.peer}: {_number(each.peer_value)} {each.unit}"
            ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
            value = f"{_number(each.value)} {each.unit}".strip()
            lines.append(f"| {benchmark} | {each.name} | {value} | {each.goal} | {peer} | {ratio} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits, or all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
