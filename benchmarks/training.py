"""AGE's training step beside one built like the AGE authors' code, and what each choice brings.

Variants take turns, so that what else the machine does hits all alike, each in a process of its own, as trainings are:
in one process they share an allocator, and change each other's speed. Medians are given. Shares of the peak are of a
large product of matrices in the same arithmetic, measured in the same run. Then whole trainings side by side.

    .venv/bin/python benchmarks/training.py --architectures dcgan reference --sizes 32 64 --batches 64 256 --threads 2
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
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from visrec.encoders.age import OPTIONS
from visrec.jobs import job
from visrec.training.game import CapturedGame, Game, prepare, resolve_precision
from visrec.training.loop import RealBatches

IMAGES = 2048
GOAL, MOONSHOT = 2.6, 4.5


def spec(**chosen: object) -> dict[str, object]:
    """The options of stage train, with their defaults."""
    return {name: option["default"] for name, option in OPTIONS["train"].items()} | chosen


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


class ReferenceWay(Game):
    """The step as in the AGE authors' code: float32, NCHW, every gradient computed, convolutions everywhere."""

    def __init__(self, spec: dict, size: int, seed: int, device: torch.device):
        super().__init__(spec | {"precision": "fp32"}, size, seed, device)
        for net in (self.encoder, self.generator):
            for module in net.modules():  # the same weights through the framework's own forward
                if isinstance(module, nn.Conv2d):
                    module.__class__ = nn.Conv2d
                elif isinstance(module, nn.ConvTranspose2d):
                    module.__class__ = nn.ConvTranspose2d
            net.to(memory_format=torch.contiguous_format)
        self.encoder_optimiser, self.generator_optimiser = (
            torch.optim.Adam(net.parameters(), lr=spec["learning_rate"], betas=(0.5, 0.999))
            for net in (self.encoder, self.generator)
        )

    def update_encoder(self, real: Tensor) -> dict[str, Tensor]:
        """One step of Adam down L_E; gradients of the generator are computed and thrown away."""
        self.generator.zero_grad()
        return self._step(self.encoder_optimiser, self.encoder_terms(real))

    def update_generator(self, batch: int) -> dict[str, Tensor]:
        """One step of Adam down L_G; gradients of the encoder are computed and thrown away."""
        self.encoder.zero_grad()
        return self._step(self.generator_optimiser, self.generator_terms(batch))


def endless(loader: DataLoader, device: torch.device) -> Iterator[Tensor]:
    """Batches for ever."""
    while True:
        for batch in loader:
            yield batch.to(device)


def variants(options: dict, size: int, device: torch.device) -> dict[str, Callable[[], Callable[[], None]]]:
    """Name -> what makes one whole iteration, fetching of the real batch included."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, size, size), dtype=np.uint8)
    batch = options["batch"]
    loader = endless(DataLoader(Pictures(images), batch, shuffle=True, drop_last=True), device)
    resident = RealBatches(torch.from_numpy(images).to(device), batch, 0)
    count = iter(range(1, sys.maxsize))

    def iteration(game: Game, batches: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            game.update_encoder(batches())
            for _ in range(options["generator_steps"]):
                game.update_generator(batch)

        return run

    def ours(precision: str, kind: type[Game] = Game) -> Callable[[], None]:
        return iteration(kind(options | {"precision": precision}, size, 0, device), lambda: resident[next(count)])

    found = {
        "the reference's way": lambda: iteration(ReferenceWay(options, size, 0, device), lambda: next(loader)),
        "ours, fp32": lambda: ours("fp32"),
        "ours, bf16": lambda: ours("bf16"),
    }
    if device.type == "cuda":
        found["ours, bf16, CUDA graphs"] = lambda: ours("bf16", CapturedGame)
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


def compare(architecture: str, size: int, batch: int, rounds: int, times: int, device: torch.device) -> None:
    """Print one table."""
    options = spec(architecture=architecture, batch=batch)
    with FlopCounterMode(display=False) as counter:
        game, real = Game(options | {"precision": "fp32"}, size, 0, device), torch.rand(batch, 3, size, size)
        game.update_encoder(real.to(device))
        for _ in range(options["generator_steps"]):
            game.update_generator(batch)
    flops = counter.get_total_flops()
    del game
    peaks = {"fp32": peak(torch.float32, device), "bf16": peak(torch.bfloat16, device)}
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
    for each in [2, *[times] * rounds]:  # the first is to warm up
        for name, process in processes.items():
            process.stdin.write(f"{each}\n")
            process.stdin.flush()
            taken.setdefault(name, []).append(float(process.stdout.readline()))
    for name, process in processes.items():
        process.communicate()
        del taken[name][0]
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
    ratio = first / min(statistics.median(each) for name, each in taken.items() if fastest in name)
    reached = "moonshot reached" if ratio >= MOONSHOT else "goal reached" if ratio >= GOAL else "goal missed"
    print(f"precision auto is {fastest} here: {ratio:.2f} times the reference's way; goal {GOAL}, {reached}")


def turns(name: str, architecture: str, size: int, batch: int, device: torch.device) -> None:
    """Print seconds per iteration of a variant, whenever a line says how many: what `compare` starts one of each of."""
    run = variants(spec(architecture=architecture, batch=batch), size, device)[name]()
    for line in sys.stdin:
        print(seconds(run, int(line), device), flush=True)


def alone(architecture: str, size: int, batch: int, device: torch.device) -> None:
    """Print images per second of one training over ten seconds: what `side_by_side` starts several of."""
    game = prepare(spec(architecture=architecture, batch=batch), size, 0, device)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, size, size), dtype=np.uint8)
    batches = RealBatches(torch.from_numpy(images).to(device), batch, 0)
    done, began = -5, time.perf_counter()
    while done <= 0 or time.perf_counter() - began < 10:
        game.update_encoder(batches[done + 6])
        for _ in range(2):
            game.update_generator(batch)
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


if __name__ == "__main__":
    main()
