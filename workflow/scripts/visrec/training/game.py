"""The game of Adversarial Generator-Encoder networks (Ulyanov et al., arXiv:1704.02304, in the seed paper's setting).

One iteration is one update of the encoder and then n_g updates of the generator, each with fresh noise:

    L_E(psi)   = KL(e(x)) - KL(e(g(z))) + mu_x * D_x(g(e(x)), x)
    L_G(theta) = KL(e(g(z))) + lambda_z * D_z(e(g(z)), z)

Both are minimised. Real and generated images go through the nets in separate batches, both nets stay in training mode,
and the partner of the net being updated is frozen: gradients flow through it and none are computed for it.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from visrec.networks.bodies import build, frozen, unit
from visrec.training import losses

log = logging.getLogger(__name__)


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

    CAPTURABLE = False

    def __init__(self, spec: Mapping[str, Any], size: int, seed: int, device: torch.device):
        self.spec, self.device = spec, device
        self.dtype = resolve_precision(spec["precision"], device)
        self.precision = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        self.kl = losses.KL[spec["kl"]]
        self.pixel_match = losses.PIXEL_MATCH[spec["pixel_match"]]
        self.encoder, self.generator = (
            net.to(device, memory_format=torch.channels_last)
            for net in build(size, spec["latent"], spec["architecture"], seed)
        )
        self.encoder_optimiser, self.generator_optimiser = (
            _adam(net, spec["learning_rate"], self.CAPTURABLE) for net in (self.encoder, self.generator)
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
                if self.CAPTURABLE:  # a captured update reads it from its place
                    group["lr"].fill_(value)
                else:
                    group["lr"] = value

    def state(self) -> dict[str, Tensor]:
        """Everything the next iterations depend on besides spec, images and iteration; copies, on the CPU."""
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors().items()}
        return copies | {"noise_source": self.noise_source.get_state()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Become what `state` described; tensors keep their place in memory and its layout.

        Raises:
            KeyError: a tensor is missing.
        """
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state[name])
        self.noise_source.set_state(state["noise_source"])

    def _tensors(self) -> dict[str, Tensor]:
        """The nets' weights and statistics, and the optimisers' averages: the very tensors, by name."""
        tensors = {}
        for name, net, optimiser in (
            ("encoder", self.encoder, self.encoder_optimiser),
            ("generator", self.generator, self.generator_optimiser),
        ):
            tensors |= {f"{name}.{key}": tensor for key, tensor in net.state_dict().items()}
            for weight, parameter in net.named_parameters():
                averages = optimiser.state[parameter]
                tensors |= {f"{name}_optimiser.{weight}.{key}": tensor for key, tensor in averages.items()}
        return tensors

    @staticmethod
    def _step(optimiser: torch.optim.Optimizer, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        optimiser.zero_grad()
        terms["loss"].backward()
        optimiser.step()
        return {name: term.detach() for name, term in terms.items()}


class CapturedGame(Game):
    """The game on a GPU with each update as one CUDA graph: the same kernels, launched at once instead of one by one.

    At batch 64 a GPU can be done with a kernel before Python has launched the next. Never run on a GPU yet.

    Args:
        spec, size, seed, device: as of `Game`; the device is a CUDA one.
    """

    CAPTURABLE = True
    WARM_UP = 3  # iterations, in which libraries choose and allocate what they need; they leave no trace

    def __init__(self, spec: Mapping[str, Any], size: int, seed: int, device: torch.device):
        super().__init__(spec, size, seed, device)
        batch = spec["batch"]
        self._real = torch.zeros(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
        before = self.state()
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # not captured yet, as it should be
            self._real.normal_()  # nets fed with one constant have no variance, and their latents no finite loss
            for _ in range(self.WARM_UP):
                super().update_encoder(self._real)
                super().update_generator(batch)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._encoder_graph, self._encoder_terms = self._capture(lambda: Game.update_encoder(self, self._real))
        self._generator_graph, self._generator_terms = self._capture(lambda: Game.update_generator(self, batch))
        self.load(before)

    def _capture(self, update: Callable[[], dict[str, Tensor]]) -> tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.noise_source)
        with torch.cuda.graph(graph):
            terms = update()
        return graph, terms

    def update_encoder(self, real: Tensor) -> dict[str, Tensor]:
        """One step of Adam down L_E; what it returns is overwritten by the next one."""
        self._real.copy_(real)
        self._encoder_graph.replay()
        return self._encoder_terms

    def update_generator(self, batch: int) -> dict[str, Tensor]:
        """One step of Adam down L_G; what it returns is overwritten by the next one."""
        if batch != len(self._real):
            raise ValueError(f"captured for batches of {len(self._real)}, not of {batch}")
        self._generator_graph.replay()
        return self._generator_terms


def prepare(spec: Mapping[str, Any], size: int, seed: int, device: torch.device) -> Game:
    """The game in the fastest form the device has."""
    if device.type != "cuda":
        return Game(spec, size, seed, device)
    try:
        return CapturedGame(spec, size, seed, device)
    except RuntimeError as error:  # an operation that this torch or driver cannot capture
        log.warning("CUDA graphs do not work here (%s): training without them, more slowly", str(error).split("\n")[0])
    # The failed one is gone by now, and with it its memory; the stream it was captured on may still be the current one.
    torch.cuda.set_stream(torch.cuda.default_stream(device))
    return Game(spec, size, seed, device)


def _adam(net: torch.nn.Module, learning_rate: float, capturable: bool) -> torch.optim.Adam:
    """An Adam whose averages are there from the start, as zeros, so that a state can be put into them."""
    device = next(net.parameters()).device
    rate = torch.tensor(learning_rate, device=device) if capturable else learning_rate
    adam = torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.999), fused=True, capturable=capturable)
    for parameter in net.parameters():
        adam.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
    return adam
