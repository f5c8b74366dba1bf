"""Adversarial Generator-Encoder training (Ulyanov et al., arXiv:1704.02304, in the seed paper's setting).

One iteration is one update of the encoder and then n_g updates of the generator, each with fresh noise:

    L_E(psi)   = KL(e(x)) - KL(e(g(z))) + mu_x * D_x(g(e(x)), x)
    L_G(theta) = KL(e(g(z))) + lambda_z * D_z(e(g(z)), z)

Both are minimised. Real and generated images go through the nets in separate batches, both nets stay in training mode,
and the partner of the net being updated is frozen: gradients flow through it and none are computed for it.
"""

import logging
import math
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from visrec import losses, store
from visrec.errors import UserError
from visrec.networks import build, frozen, parameters, unit
from visrec.stack import to_unit_range

log = logging.getLogger(__name__)

READINGS = 60  # rows of history.csv a training aims at, when it is long enough to choose
PICTURES = 32  # images per picture of samples and of reconstructions
# The game swings widely in its first hundreds of iterations: the variance of e(x) was seen to fall to 0.7 % of the
# healthy one and to come back within 30 iterations. So only what lasts this long is called a collapse.
COLLAPSED_BELOW = 0.01
COLLAPSED_ITERATIONS = 1000
COLLAPSED_READINGS = 3


@dataclass(frozen=True)
class TrainingFiles:
    """What a training leaves behind."""

    encoder: Path
    generator: Path
    history: Path
    samples: Path
    reconstructions: Path
    status: Path


def learning_rate(iteration: int, start: float, halve_every: int) -> float:
    """Start * 2^(-floor(iteration / halve_every)), iteration from 0; constant when `halve_every` is 0."""
    return start if halve_every == 0 else start * 0.5 ** (iteration // halve_every)


def real_batches(images: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches in [-1, 1] of uint8 images (N, 3, S, S): a new random order per epoch, its last part dropped."""
    order = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(images), generator=order).to(images.device).split(batch):
            if len(rows) == batch:
                yield to_unit_range(images[rows])


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products in bfloat16 (AMX or AVX512_BF16), asked of torch.

    With AVX512_BF16 alone a training step of `dcgan` at 32 px took 0.6 of its time in float32 (docs/decisions/0003).
    """
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the networks' arithmetic; losses, weights and optimiser stay in float32.

    "auto" is bfloat16 where the hardware multiplies in it, else float32.
    """
    if precision == "auto":
        on_gpu = device.type == "cuda"
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_multiplies_bf16()
        precision = "bf16" if fast else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


class Game:
    """The two nets, their optimisers and the two updates.

    Args:
        spec: the options of the encoder `age` at stage train.
        size: S, pixels.
        seed: of the weights and of the noise.
        device: where to compute.
    """

    def __init__(self, spec: Mapping[str, Any], size: int, seed: int, device: torch.device):
        self.spec, self.device = spec, device
        self.dtype = resolve_precision(spec["precision"], device)
        self.kl = losses.KL[spec["kl"]]
        self.pixel_match = losses.PIXEL_MATCH[spec["pixel_match"]]
        self.encoder, self.generator = (
            net.to(device, memory_format=torch.channels_last)
            for net in build(size, spec["latent"], spec["architecture"], seed)
        )
        self.encoder_optimiser, self.generator_optimiser = (
            torch.optim.Adam(net.parameters(), lr=spec["learning_rate"], betas=(0.5, 0.999))
            for net in (self.encoder, self.generator)
        )
        self.noise_source = torch.Generator(device).manual_seed(seed)

    def noise(self, batch: int) -> Tensor:
        """Latents (batch, M), uniform on the sphere: a Gaussian draw divided by its norm."""
        return unit(torch.randn(batch, self.spec["latent"], generator=self.noise_source, device=self.device))

    def encode(self, images: Tensor) -> Tensor:
        """e(x): (B, 3, S, S) -> (B, M) on the sphere, float32."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.encoder(images)

    def generate(self, latents: Tensor) -> Tensor:
        """g(z): (B, M) -> (B, 3, S, S) in [-1, 1], float32."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.generator(latents).float()

    def encoder_terms(self, real: Tensor) -> dict[str, Tensor]:
        """L_E (`loss`) and what it is made of, for a batch of real images (B, 3, S, S)."""
        e_real = self.encode(real)
        pixel_match = self.pixel_match(self.generate(e_real), real)
        with torch.no_grad():
            fake = self.generate(self.noise(len(real)))
        e_fake = self.encode(fake)
        kl_real, kl_fake = self.kl(e_real), self.kl(e_fake)
        loss = kl_real - kl_fake + self.spec["mu_x"] * pixel_match
        return {
            "loss": loss,
            "kl_real": kl_real,
            "kl_fake": kl_fake,
            "pixel_match": pixel_match,
            "real": real,
            "fake": fake,
            "e_real": e_real,
            "e_fake": e_fake,
        }

    def generator_terms(self, batch: int) -> dict[str, Tensor]:
        """L_G (`loss`) and what it is made of, for fresh noise."""
        z = self.noise(batch)
        e_fake = self.encode(self.generate(z))
        latent_match = losses.latent_match(e_fake, z)
        return {"loss": self.kl(e_fake) + self.spec["lambda_z"] * latent_match, "latent_match": latent_match}

    def update_encoder(self, real: Tensor) -> dict[str, Tensor]:
        """One step of Adam down L_E; the generator is frozen."""
        with frozen(self.generator):
            terms = self.encoder_terms(real)
            return self._step(self.encoder_optimiser, terms)

    def update_generator(self, batch: int) -> dict[str, Tensor]:
        """One step of Adam down L_G; the encoder is frozen."""
        with frozen(self.encoder):
            terms = self.generator_terms(batch)
            return self._step(self.generator_optimiser, terms)

    def set_learning_rate(self, value: float) -> None:
        """Set both optimisers' learning rate."""
        for optimiser in (self.encoder_optimiser, self.generator_optimiser):
            for group in optimiser.param_groups:
                group["lr"] = value

    @staticmethod
    def _step(optimiser: torch.optim.Optimizer, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        return {name: term.detach() for name, term in terms.items()}


def reading(encoder_terms: Mapping[str, Tensor], generator_terms: Mapping[str, Tensor]) -> dict[str, float]:
    """One row of history.csv, from what the last two updates returned."""
    e_real, e_fake = encoder_terms["e_real"], encoder_terms["e_fake"]
    mean, variance = losses.moments(e_real)
    healthy = 1 / e_real.shape[1]  # v_j of the uniform sphere
    row = {
        "loss_encoder": encoder_terms["loss"],
        "loss_generator": generator_terms["loss"],
        "kl_real": encoder_terms["kl_real"],
        "kl_fake": encoder_terms["kl_fake"],
        "kl_exact_real": losses.kl_exact(e_real),
        "kl_exact_fake": losses.kl_exact(e_fake),
        "pixel_match": encoder_terms["pixel_match"],
        "latent_match": generator_terms["latent_match"],
        "variance_min": variance.min() / healthy,
        "variance_mean": variance.mean() / healthy,
        "variance_max": variance.max() / healthy,
        "fake_variance_mean": losses.moments(e_fake)[1].mean() / healthy,
        "mean_norm": mean.norm(),
        "sample_spread": encoder_terms["fake"].std(dim=0).mean() / encoder_terms["real"].std(dim=0).mean(),
    }
    return dict(zip(row, torch.stack(list(row.values())).tolist(), strict=True))  # one read from the device


def diagnose(history: list[dict[str, float]]) -> tuple[str, str]:
    """("ok" | "diverged" | "collapsed", why), from the rows of history.csv so far.

    Diverged: a value is not finite. Collapsed: over the last COLLAPSED_ITERATIONS, and COLLAPSED_READINGS at least,
    the latents of real images were nearly one point (mean_j M * v_j = 1 - ||m||^2 near 0), or all samples nearly one
    picture.
    """
    last = history[-1]
    broken = [name for name, value in last.items() if not math.isfinite(value)]
    if broken:
        return "diverged", f"{broken[0]} is not finite at iteration {last['iteration']}"
    recent = [row for row in history if row["iteration"] > last["iteration"] - COLLAPSED_ITERATIONS]
    if last["iteration"] < COLLAPSED_ITERATIONS or len(history) < COLLAPSED_READINGS:
        return "ok", ""
    recent = history[-max(len(recent), COLLAPSED_READINGS) :]
    for name, what in (
        ("variance_mean", "latents of real images have less than {:.0%} of the healthy variance"),
        ("sample_spread", "samples differ from each other by less than {:.0%} of what real images do"),
    ):
        if max(row[name] for row in recent) < COLLAPSED_BELOW:
            since = recent[0]["iteration"]
            return "collapsed", f"{what.format(COLLAPSED_BELOW)} from iteration {since} to {last['iteration']}"
    return "ok", ""


def train(images: np.ndarray, spec: Mapping[str, Any], seed: int, device: torch.device, files: TrainingFiles) -> None:
    """Train one pair of nets and write its files; a divergence or a collapse ends it with that status, without error.

    Args:
        images: uint8 (N, 3, S, S), the training images; labels are not seen.
        spec: the options of the encoder `age` at stage train.
        seed: of weights, noise and data order.
        device: where to compute.
        files: what to write.

    Raises:
        UserError: fewer images than one batch.
    """
    batch, iterations = spec["batch"], spec["iterations"]
    if len(images) < batch:
        raise UserError(f"training needs a batch of {batch} images and got {len(images)}; set a smaller `batch`")
    game = Game(spec, images.shape[-1], seed, device)
    batches = real_batches(torch.from_numpy(images).to(device), batch, seed)
    read_every = max(1, iterations // READINGS)
    history: list[dict[str, float]] = []
    status, reason = "ok", ""
    began = last_read = time.perf_counter()
    log.info("training on %d images of %d px, %s on %s", *images.shape[::3], game.dtype, device)

    bar = tqdm(range(1, iterations + 1), desc=f"lambda_z {spec['lambda_z']} mu_x {spec['mu_x']} seed {seed}", unit="it")
    for iteration in bar:
        rate = learning_rate(iteration - 1, spec["learning_rate"], spec["halve_every"])
        game.set_learning_rate(rate)
        encoder_terms = game.update_encoder(next(batches))
        for _ in range(spec["generator_steps"]):
            generator_terms = game.update_generator(batch)

        if iteration % read_every == 0 or iteration == iterations:  # reading waits for the device, so it is rare
            row = reading(encoder_terms, generator_terms)
            now = time.perf_counter()
            since = iteration - (history[-1]["iteration"] if history else 0)
            speed = since * batch / (now - last_read)
            last_read = now
            history.append({"iteration": iteration, "learning_rate": rate, **row, "images_per_second": speed})
            bar.set_postfix(L_E=f"{row['loss_encoder']:.2f}", L_G=f"{row['loss_generator']:.1f}", refresh=False)
            status, reason = diagnose(history)
            if status != "ok":
                log.warning("%s: %s", status, reason)
                break
    bar.close()

    seconds = time.perf_counter() - began
    _write(game, images, history, files)
    store.write_json(
        files.status,
        {
            "status": status,
            "reason": reason,
            "iterations": history[-1]["iteration"],
            "seconds": round(seconds, 3),
            "images_per_second": round(history[-1]["iteration"] * batch / seconds, 1),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "precision": "bf16" if game.dtype == torch.bfloat16 else "fp32",
            "parameters": {"encoder": parameters(game.encoder), "generator": parameters(game.generator)},
            "host": platform.node(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
    )


def _write(game: Game, images: np.ndarray, history: list[dict[str, float]], files: TrainingFiles) -> None:
    with store.atomic(files.history) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)
    for net, path in ((game.encoder, files.encoder), (game.generator, files.generator)):
        weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
        with store.atomic(path) as temporary:
            safetensors.torch.save_file(weights, temporary)
    draw(game, images, files)


@torch.no_grad()
def draw(game: Game, images: np.ndarray, files: TrainingFiles) -> None:
    """Draw samples g(z), and pairs of an image x and its reconstruction g(e(x)).

    As in the reference, the generator is in evaluation and the encoder in training mode, in float32. Nets that are not
    finite are drawn as black, so that a diverged training has its picture too.
    """
    from torchvision.utils import make_grid, save_image

    game.encoder.train()
    game.generator.eval()
    rows = np.linspace(0, len(images) - 1, min(PICTURES, len(images)), dtype=int)  # spread over the training images
    real = to_unit_range(torch.from_numpy(images[rows]).to(game.device))
    pairs = torch.stack([real, game.generator(game.encoder(real))], dim=1).flatten(0, 1)
    for pictures, path, columns in (
        (game.generator(game.noise(2 * PICTURES)), files.samples, 16),
        (pairs, files.reconstructions, 16),
    ):
        with store.atomic(path) as temporary:
            grid = make_grid(pictures.nan_to_num(-1).clamp(-1, 1), columns, padding=2, pad_value=1)
            save_image((grid + 1) / 2, temporary)
