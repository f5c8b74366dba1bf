"""Linear probes beside scikit-learn's LinearSVC: six values of C on ten classes, and how time and memory grow.

All standardise the features first. Each contender works in a process of its own, so that each has its own peak memory,
and is ended after `--limit` seconds; they take turns, so that what else the machine does hits all alike. LinearSVC runs
at its own tolerance and is left out above 25 million values: it keeps 16 bytes of each. "Objective" is by how much its
objective differs from ours, relatively, where it does most; ours is proven to be within a millionth of the minimum.

    .venv/bin/python benchmarks/probe.py --rows 5000 20000 70000 --dims 128 4416 --repeats 3
    .venv/bin/python benchmarks/probe.py --quick
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
from table import Figure
from tqdm import tqdm

CLASSES = 10
C_GRID = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
LARGEST = 25_000_000  # values that LinearSVC is given


class Run(NamedTuple):
    """Seconds, peak memory in MB, objectives (C, K), and accuracy on rows not learnt from at the best C."""

    seconds: float
    memory: float
    objectives: np.ndarray
    accuracy: float


def problem(rows: int, dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (rows, dims) like an encoder's: 64 directions with a falling spectrum, rectified; overlapping classes."""
    common = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(1 + np.arange(64))
    axes = common.normal(size=(64, dims)).astype(np.float32)
    centres = 0.3 * spectrum * common.normal(size=(CLASSES, 64))
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=rows)
    X = (centres[y] + spectrum * rng.normal(size=(rows, 64))).astype(np.float32) @ axes
    for start in range(0, rows, 1024):
        part = X[start : start + 1024]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
        np.maximum(part, 0, out=part)
    return X, y


def nothing(X: np.ndarray, y: np.ndarray) -> None:
    """Only the features in memory: what the others' memory begins with."""


def squared_hinge(X: np.ndarray, y: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """`visrec.scoring.linear_probe`, linear SVM."""
    return _ours(X, y, "squared_hinge")


def logistic(X: np.ndarray, y: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """`visrec.scoring.linear_probe`, logistic regression: another problem, with objectives of its own."""
    return _ours(X, y, "logistic")


def _ours(X: np.ndarray, y: np.ndarray, loss: str) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """C, weights (D, K) and bias (K,) for the features as they are."""
    from visrec.scoring import linear_probe

    scaler = _scaler(X)
    prepared = linear_probe.prepare(X, "cpu", scaler.mean_, scaler.scale_)
    found = linear_probe.fit(prepared, y, C_GRID, range(CLASSES), loss)
    if not all(solution.converged for solution in found):
        raise RuntimeError("not converged")
    return [(solution.C, solution.weights, solution.bias) for solution in found]


def svc_dual(X: np.ndarray, y: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """scikit-learn, LinearSVC(dual=True)."""
    return _svc(X, y, dual=True)


def svc_primal(X: np.ndarray, y: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """scikit-learn, LinearSVC(dual=False)."""
    return _svc(X, y, dual=False)


def _svc(X: np.ndarray, y: np.ndarray, dual: bool) -> list[tuple[float, np.ndarray, np.ndarray]]:
    from sklearn.svm import LinearSVC

    scaler = _scaler(X)
    standardised = scaler.transform(X)
    found = []
    for C in C_GRID:
        model = LinearSVC(C=C, dual=dual, max_iter=100_000).fit(standardised, y)
        weights = model.coef_.T / scaler.scale_[:, None]
        found.append((C, weights, model.intercept_ - scaler.mean_ @ weights))
    return found


def _scaler(X: np.ndarray) -> object:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for start in range(0, len(X), 512):
        scaler.partial_fit(X[start : start + 512])
    return scaler


def objectives(X: np.ndarray, y: np.ndarray, found: list, squared: bool) -> np.ndarray:
    """The objective of each C and class on the standardised features, float64 (C, K), written out."""
    scaler = _scaler(X)
    signs = np.where(y[:, None] == np.arange(CLASSES), 1.0, -1.0)
    values = []
    for C, weights, bias in found:
        scores = [X[start : start + 512].astype(np.float64) @ weights for start in range(0, len(X), 512)]
        margins = signs * (np.concatenate(scores) + bias)
        losses = np.square(np.maximum(0, 1 - margins)) if squared else np.logaddexp(0, -margins)
        w, b = weights * scaler.scale_[:, None], bias + scaler.mean_ @ weights
        values.append((np.square(w).sum(axis=0) + np.square(b)) / 2 + C * losses.sum(axis=0))
    return np.array(values)


def accuracy(X: np.ndarray, y: np.ndarray, found: list) -> float:
    """The best over C on other rows: how hard the problem is."""
    return max(float(np.mean((X @ weights + bias).argmax(axis=1) == y)) for _, weights, bias in found)


def work(pipe: Connection, contender: Callable, rows: int, dims: int) -> None:
    """Make the features, say so, run the contender, and send what came of it."""
    import sklearn.svm  # noqa: F401

    X, y = problem(rows, dims, 1)
    contender(*problem(64, 8, 2))  # warm up
    pipe.send(None)
    began = time.perf_counter()
    found = contender(X, y)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if found is None:
        pipe.send(Run(seconds, memory, np.zeros((0, CLASSES)), float("nan")))
    else:
        values = objectives(X, y, found, contender is not logistic)
        pipe.send(Run(seconds, memory, values, accuracy(*problem(1000, dims, 3), found)))


def run(contender: Callable, rows: int, dims: int, limit: float) -> Run | None:
    """A contender in a process of its own; None if it was not done after `limit` seconds.

    Raises:
        RuntimeError: the process died.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=work, args=(there, contender, rows, dims), daemon=True)
    process.start()
    there.close()
    try:
        here.recv()
        return here.recv() if here.poll(limit) else None
    except EOFError as error:
        raise RuntimeError(f"{contender.__name__} died on {rows} x {dims}; is there enough memory?") from error
    finally:
        process.kill()
        process.join()


def row(rows: int, dims: int, contender: Callable, runs: list[Run | None], ours: list[Run], limit: float) -> str:
    """A line of the table."""
    name = f"| {rows:,} | {dims:,} | {contender.__name__.replace('_', ' ')} "
    if contender is nothing:
        return f"{name}| | | {max(each.memory for each in runs):,.0f} | | |"
    if None in runs:
        ratio = limit / statistics.median(each.seconds for each in ours)
        return f"{name}| over {limit:,.0f} | over {ratio:.1f} | | | |"
    seconds = statistics.median(each.seconds for each in runs)
    times = seconds / statistics.median(each.seconds for each in ours)
    differs = ""
    if contender in (svc_dual, svc_primal):
        differences = (runs[0].objectives / ours[0].objectives - 1).ravel()
        differs = f"{differences[np.abs(differences).argmax()]:+.1e}"
    memory = max(each.memory for each in runs)
    return f"{name}| {seconds:.2f} | {times:.1f} | {memory:,.0f} | {differs} | {100 * runs[0].accuracy:.0f} % |"


def figures(threads: int, rows: int = 1_500, dims: int = 1024) -> list[Figure]:
    """For `all.py`: six values of C; ours three times, LinearSVC once."""
    ours = [run(squared_hinge, rows, dims, 60) for _ in range(3)]
    other = [run(logistic, rows, dims, 60) for _ in range(3)]
    peer = run(svc_dual, rows, dims, 120)
    if None in ours or None in other:
        raise RuntimeError("a linear probe took more than 60 s")
    about = f"{len(C_GRID)} values of C, {CLASSES} classes, {rows:,} x {dims:,}"
    found = [
        Figure(
            f"linear SVM, {about}",
            statistics.median(each.seconds for each in ours),
            "s",
            "60 at 70,000 x 4,416",
            peer="LinearSVC, dual" if peer else "LinearSVC, dual, at least",
            peer_value=peer.seconds if peer else 120,
        ),
        Figure(f"logistic regression, {about}", statistics.median(each.seconds for each in other), "s"),
    ]
    if peer:
        apart = float(np.abs(peer.objectives / ours[0].objectives - 1).max())
        found.append(Figure("objective, largest relative difference from LinearSVC", apart, "", "1e-6"))
    return found


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_500, 5_000, 20_000, 70_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 4416])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300, help="seconds for a contender (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small case, once, to see that this runs")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rows, chosen.dims, chosen.repeats, chosen.limit = [400], [32], 1, 20
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(chosen.threads)
    print(f"{len(C_GRID)} values of C, {CLASSES} classes, {chosen.threads} threads, median of {chosen.repeats}\n")
    print("| rows | values | contender | seconds | times ours | peak memory, MB | objective | accuracy |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    cases = [(rows, dims) for dims in chosen.dims for rows in chosen.rows]
    with tqdm(total=5 * chosen.repeats * len(cases), unit="run") as bar:
        for rows, dims in cases:
            contenders = [nothing, squared_hinge, logistic]
            contenders += [svc_dual, svc_primal] if rows * dims <= LARGEST else []
            found: dict[Callable, list[Run | None]] = {contender: [] for contender in contenders}
            for contender in [each for _ in range(chosen.repeats) for each in contenders]:
                bar.set_postfix_str(f"{rows} x {dims} {contender.__name__}")
                if None not in found[contender]:  # once over the limit is enough
                    found[contender].append(run(contender, rows, dims, chosen.limit))
                bar.update()
            bar.update((5 - len(contenders)) * chosen.repeats)
            if None in found[squared_hinge]:
                tqdm.write(f"| {rows:,} | {dims:,} | squared hinge | over {chosen.limit:,.0f} | | | | |")
                continue
            for contender, runs in found.items():
                tqdm.write(row(rows, dims, contender, runs, found[squared_hinge], chosen.limit))


if __name__ == "__main__":
    main()
