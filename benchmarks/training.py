"""AGE's training step beside one built like the AGE authors' code, and what each choice brings.

Variants take turns, so that what else the machine does hits all alike, each in a process of its own, as trainings are:
in one process they share an allocator, and change each other's speed. Medians are given. Shares of the peak are of a
large product of matrices in the same arithmetic, measured in the same run. Then whole trainings side by side: in
processes, and on a GPU in streams of one process, too. Whether processes share a GPU or take turns depends on NVIDIA's
MPS (docs/cluster.md).

    .venv/bin/python benchmarks/training.py --architectures dcgan reference --sizes 32 64 --batches 64 256 --threads 2
    .venv/bin/python benchmarks/training.py --architectures dcgan --sizes 32 --iterations 500 --device cuda
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from table import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from visrec.encoders.age import BETAS, Training
from visrec.experiment import registry
from visrec.jobs import job
from visrec.training import capture
from visrec.training.batches import Batches
from visrec.training.method import Method, Setup, make, resolve_precision

IMAGES = 2048
GOAL, MOONSHOT = 2.6, 4.5


def options_of(**chosen: object) -> dict[str, object]:
    """The options of stage train, with their defaults."""
    declared = registry.declared("encoders", "age")["OPTIONS"]["train"]
    return {name: option["default"] for name, option in declared.items()} | chosen


class Pictures(Dataset):
    """PIL images, made into tensors one by one, as torchvision's datasets are."""

    def __init__(self, images: np.ndarray):
        self.images = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


class ReferenceWay(Training):
    """The step as in the AGE authors' code: float32, NCHW, every gradient computed, convolutions everywhere."""

    def begin(self) -> None:
        """Undo what makes ours fast: the same weights through the framework's own layers and optimiser."""
        self.dtype = torch.float32
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.__class__ = nn.Conv2d
            elif isinstance(module, nn.ConvTranspose2d):
                module.__class__ = nn.ConvTranspose2d
        self.to(memory_format=torch.contiguous_format)
        self.train()
        self._optimisers = self.optimisers()  # their averages come with the first step: nothing here is saved

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam as torch makes it by default."""
        rate = self.options["learning_rate"]
        nets = {"encoder": self.encoder, "generator": self.generator}
        return {name: torch.optim.Adam(net.parameters(), lr=rate, betas=BETAS) for name, net in nets.items()}

    def update(self, name: str, loss: Tensor) -> None:
        """One step of Adam; gradients of the other network are computed and thrown away."""
        self.zero_grad()
        loss.backward()
        self._optimisers[name].step()


class CompiledWay(Training):
    """Ours, its networks through torch.compile, which fuses what lies between convolutions."""

    def begin(self) -> None:
        """Compile before the step is captured."""
        super().begin()
        self.encoder.compile()
        self.generator.compile()


def endless(loader: DataLoader, device: torch.device) -> Iterator[Tensor]:
    """Batches for ever."""
    while True:
        for batch in loader:
            yield batch.to(device)


def made_up(size: int) -> np.ndarray:
    """Pictures of noise, uint8 (IMAGES, 3, S, S), the same every time."""
    return np.random.default_rng(0).integers(0, 256, (IMAGES, 3, size, size), dtype=np.uint8)


def resident(size: int, batch: int, device: torch.device) -> Batches:
    """Batches of them, on the device."""
    return Batches(torch.from_numpy(made_up(size)).to(device), None, batch, 0)


def variants(options: dict, size: int, device: torch.device) -> dict[str, Callable[[], Callable[[], None]]]:
    """Name -> what makes one whole iteration, fetching of the real batch included."""
    batch = options["batch"]
    loader = endless(DataLoader(Pictures(made_up(size)), batch, shuffle=True, drop_last=True), device)
    batches = resident(size, batch, device)
    count = iter(range(1, sys.maxsize))

    def build(kind: type[Method], precision: str) -> Method:
        return make(kind, Setup(options | {"precision": precision}, size, 0, device))

    def plain(kind: type[Method], precision: str, fetch: Callable[[], Tensor]) -> Callable[[], None]:
        method = build(kind, precision)
        method.begin()
        return lambda: method.step(fetch(), None)

    def captured(kind: type[Method]) -> Callable[[], None]:
        _, step = capture.prepare(lambda: build(kind, "bf16"), *batches[1])
        return lambda: step(*batches[next(count)])

    found = {
        "the reference's way": lambda: plain(ReferenceWay, "fp32", lambda: next(loader)),
        "ours, fp32": lambda: plain(Training, "fp32", lambda: batches[next(count)][0]),
    }
    if resolve_precision("auto", device) == torch.bfloat16:  # emulated it takes seconds per iteration
        found["ours, bf16"] = lambda: plain(Training, "bf16", lambda: batches[next(count)][0])
    if device.type == "cuda":
        found["ours, bf16, CUDA graphs"] = lambda: captured(Training)
        found["compiled, bf16, CUDA graphs"] = lambda: captured(CompiledWay)
    return found


def synchronise(device: torch.device) -> None:
    """Wait for the GPU, if there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], None], times: int, device: torch.device) -> float:
    """Seconds per call."""
    synchronise(device)
    began = time.perf_counter()
    for _ in range(times):
        run()
    synchronise(device)
    return (time.perf_counter() - began) / times


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a product of two large square matrices."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    a @ a
    return 2 * side**3 / statistics.median(seconds(lambda: a @ a, 3, device) for _ in range(5))


def iterations(
    architecture: str, size: int, batch: int, turns: list[int], device: torch.device
) -> dict[str, list[float]]:
    """Seconds per iteration of each variant, after the first turn; each is a process of its own, and they take turns.

    Args:
        architecture: of the networks.
        size: of the pictures, pixels.
        batch: pictures per iteration.
        turns: iterations of each turn.
        device: where to compute.
    """
    options = options_of(architecture=architecture, batch=batch)
    taken: dict[str, list[float]] = {}
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--device", device.type, "--turns"]
    processes = {
        name: subprocess.Popen(
            [*command, name, architecture, str(size), str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in variants(options, size, device)
    }
    for each in turns:
        for name, process in processes.items():
            process.stdin.write(f"{each}\n")
            process.stdin.flush()
            taken.setdefault(name, []).append(float(process.stdout.readline()))
    for name, process in processes.items():
        process.communicate()
        del taken[name][0]
    return taken


def figures(threads: int, rounds: int = 3) -> list[Figure]:
    """For `all.py`: `dcgan` at 32 px, batch 64, on the CPU."""
    torch.set_num_threads(threads)
    device, batch = torch.device("cpu"), 64
    taken = iterations("dcgan", 32, batch, [2, *[2] * rounds], device)
    rates = {name: batch / statistics.median(each) for name, each in taken.items()}
    peer = {"peer": "the reference's way", "peer_value": rates.pop("the reference's way"), "more_is_better": True}
    fastest = "bf16" if resolve_precision("auto", device) == torch.bfloat16 else "fp32"
    found = []
    for name, rate in rates.items():
        goal = f"{GOAL} x" if fastest in name else ""
        found.append(Figure(f"train dcgan, 32 px, batch {batch}, {name}", rate, "img/s", goal, **peer))
    return found


def compare(architecture: str, size: int, batch: int, rounds: int, times: int, device: torch.device) -> None:
    """Print one table."""
    options = options_of(architecture=architecture, batch=batch)
    with FlopCounterMode(display=False) as counter:
        game = make(Training, Setup(options | {"precision": "fp32"}, size, 0, device))
        game.begin()
        game.step(torch.rand(batch, 3, size, size, device=device), None)
    flops = counter.get_total_flops()
    del game
    peaks = {"fp32": peak(torch.float32, device), "bf16": peak(torch.bfloat16, device)}
    taken = iterations(architecture, size, batch, [2, *[times] * rounds], device)  # the first is to warm up
    print(f"\n{architecture}, {size} px, batch {batch}: {flops / 1e9:.1f} GFLOP per iteration, as ours needs them")
    print(f"{'':28}{'img/s':>9}{'ratio':>8}{'GFLOP/s':>10}{'of peak':>9}")
    first = statistics.median(taken["the reference's way"])
    for name, each in taken.items():
        middle = statistics.median(each)
        own_peak = peaks["bf16" if "bf16" in name else "fp32"]
        print(
            f"{name:28}{batch / middle:9.0f}{first / middle:8.2f}{flops / middle / 1e9:10.0f}"
            f"{flops / middle / own_peak:9.0%}",
            flush=True,
        )
    fastest = "bf16" if resolve_precision("auto", device) == torch.bfloat16 else "fp32"
    ratio = first / min(statistics.median(each) for name, each in taken.items() if name.startswith(f"ours, {fastest}"))
    reached = "moonshot reached" if ratio >= MOONSHOT else "goal reached" if ratio >= GOAL else "goal missed"
    print(f"precision auto is {fastest} here: {ratio:.2f} times the reference's way; goal {GOAL}, {reached}")


def turns(name: str, architecture: str, size: int, batch: int, device: torch.device) -> None:
    """Print seconds per iteration of a variant, whenever a line says how many: what `compare` starts one of each of."""
    run = variants(options_of(architecture=architecture, batch=batch), size, device)[name]()
    for line in sys.stdin:
        print(seconds(run, int(line), device), flush=True)


def alone(architecture: str, size: int, batch: int, device: torch.device) -> None:
    """Print images per second of one training over ten seconds: what `side_by_side` starts several of."""
    batches = resident(size, batch, device)
    setup = Setup(options_of(architecture=architecture, batch=batch), size, 0, device)
    _, step = capture.prepare(lambda: make(Training, setup), *batches[1])
    done, began = -5, time.perf_counter()
    while done <= 0 or time.perf_counter() - began < 10:
        step(*batches[done + 6])
        done += 1
        if done == 0:
            synchronise(device)
            print("ready", flush=True)
            sys.stdin.readline()
            began = time.perf_counter()
        elif done % 50 == 0:
            synchronise(device)
    synchronise(device)
    print(done * batch / (time.perf_counter() - began), flush=True)


def side_by_side(architecture: str, size: int, batch: int, threads: int, device: torch.device) -> None:
    """Print the sum of images per second of several trainings at once."""
    print(f"\ntrainings side by side, {architecture}, {size} px, batch {batch}, precision auto")
    print(f"{'trainings':>10}{'threads':>9}{'img/s':>9}{'ratio':>8}")
    sizes = [(1, threads)] + [(n, max(1, threads // n)) for n in (2, 4, 8) if device.type == "cuda" or n <= threads]
    first = 0.0
    for count, share in sizes:
        command = [sys.executable, __file__, "--alone", architecture, str(size), str(batch), "--threads", str(share)]
        processes = [
            subprocess.Popen(
                [*command, "--device", device.type], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(count)
        ]
        for process in processes:
            process.stdout.readline()
        for process in processes:  # all at once
            process.stdin.write("go\n")
            process.stdin.flush()
        total = sum(float(process.communicate()[0]) for process in processes)
        first = first or total
        print(f"{count:10}{share:9}{total:9.0f}{total / first:8.2f}", flush=True)


def in_streams(architecture: str, size: int, batch: int, device: torch.device) -> None:
    """Print the sum of images per second of several trainings in one process, each on a stream of its own."""
    batches, count = resident(size, batch, device), iter(range(1, sys.maxsize))
    setup = Setup(options_of(architecture=architecture, batch=batch), size, 0, device)
    steps = []
    for _ in range(8):
        stream = torch.cuda.Stream(device)
        with torch.cuda.stream(stream):
            steps.append((stream, capture.prepare(lambda: make(Training, setup), *batches[1])[1]))
        synchronise(device)
    print(f"\ntrainings in one process, {architecture}, {size} px, batch {batch}, precision auto")
    print(f"{'trainings':>10}{'img/s':>9}")
    for number in (1, 2, 4, 8):

        def turn(number: int = number) -> None:
            for stream, step in steps[:number]:
                with torch.cuda.stream(stream):
                    step(*batches[next(count)])

        seconds(turn, 10, device)
        print(f"{number:10}{number * batch / seconds(turn, 500, device):9.0f}", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["dcgan", "reference"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=3, help="per variant and round")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--alone", nargs=3, metavar=("ARCHITECTURE", "SIZE", "BATCH"), help=argparse.SUPPRESS)
    parser.add_argument("--turns", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = job.device(given.device)
    if given.turns:
        turns(given.turns[0], given.turns[1], int(given.turns[2]), int(given.turns[3]), device)
        return
    if given.alone:
        alone(given.alone[0], int(given.alone[1]), int(given.alone[2]), device)
        return
    for architecture in given.architectures:
        for size in given.sizes:
            for batch in given.batches:
                compare(architecture, size, batch, given.rounds, given.iterations, device)
            side_by_side(architecture, size, given.batches[0], given.threads, device)
            if device.type == "cuda":
                in_streams(architecture, size, given.batches[0], device)


if __name__ == "__main__":
    main()
