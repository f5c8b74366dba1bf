"""The contract of a trained encoder: its networks, and one step.

An encoder file subclasses `Method` as `Training`:

    class Training(Method):
        def __init__(self, setup):
            super().__init__(setup)
            self.encoder = ...                        # what is embedded

        def optimisers(self):
            return {"all": self.adam(self.encoder)}

        def step(self, images, labels):
            loss = ...
            self.update("all", loss)
            return {"loss": loss}

Everything else it gets: batches, schedules, precision, exact resume, CUDA graphs, history.csv, warnings, collapse,
pictures, embeddings of its hidden layers. What it keeps in parameters, buffers and optimisers is saved and restored;
all its randomness comes from `self.random`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Setup:
    """What a method is built for.

    Attributes:
        options: of the encoder, of stage train at least.
        size: S, pixels.
        seed: of weights, noise and views.
        device: where to compute.
        classes: C, number of classes; 0 for methods that do not declare LABELS.
    """

    options: Mapping[str, Any]
    size: int
    seed: int
    device: torch.device
    classes: int = 0


class Method(nn.Module):
    """How one encoder is trained. Methods that can draw have `decode`, and `latents` if they have samples, too.

    Attributes:
        encoder: the network that is embedded: `encoder.hidden(x)` are its maps, first to last, `encoder.latent(last)`
            is the output (B, M) made of the last one, and `encoder(x)` is both in one.
        options: of the encoder.
        device: where it computes.
        dtype: of the networks' arithmetic, see `run`.
        random: the only source of randomness that `step` may use; on the device, saved and restored.
        progress: float32 (), the share of the training that is done. On the device, so that schedules of a method's own
            can follow it inside a CUDA graph.
    """

    encoder: nn.Module
    progress: Tensor

    def __init__(self, setup: Setup):
        super().__init__()
        self.options, self.device = setup.options, setup.device
        self.dtype = resolve_precision(setup.options["precision"], setup.device)
        self.random = torch.Generator(setup.device).manual_seed(setup.seed)
        self.register_buffer("progress", torch.zeros(()), persistent=False)
        self._optimisers: dict[str, torch.optim.Optimizer] = {}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """New optimisers by name, see `adam`. Called once, with the networks on their device."""
        raise NotImplementedError

    def step(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """All updates of one iteration.

        Args:
            images: real ones, float32 (B, 3, S, S) in [-1, 1].
            labels: int64 (B,), -1 = none; None unless the encoder's file declares LABELS.

        Returns:
            what `readings` needs: losses and other scalars, and tensors that it makes scalars of.
        """
        raise NotImplementedError

    def readings(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A row of history.csv, scalars by name, from what `step` returned. By default all scalars of it."""
        return {name: term for name, term in terms.items() if term.ndim == 0}

    def run(self, net: Callable[..., Any], *inputs: Tensor) -> Any:
        """What a network makes of its inputs, computed in the training's precision, in float32.

        Losses, weights and optimisers are in float32 always.
        """
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            made = net(*inputs)
        return made.float() if isinstance(made, Tensor) else [each.float() for each in made]

    def adam(self, *nets: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
        """An Adam over the weights of some networks, with the option `weight_decay` decoupled (AdamW).

        Its averages are there from the start, as zeros, so that a state can be put into them. On a GPU its learning
        rate is a tensor, which a captured step reads from its place.
        """
        captured = self.device.type == "cuda"
        rate = self.options["learning_rate"]
        adam = torch.optim.Adam(
            [weight for net in nets for weight in net.parameters() if weight.requires_grad],
            lr=torch.tensor(rate, device=self.device) if captured else rate,
            betas=betas,
            weight_decay=self.options["weight_decay"],
            decoupled_weight_decay=True,
            fused=True,
            capturable=captured,
        )
        for weight in adam.param_groups[0]["params"]:
            adam.state[weight] = {
                "step": torch.zeros((), device=weight.device),
                "exp_avg": torch.zeros_like(weight, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(weight, memory_format=torch.preserve_format),
            }
        return adam

    def update(self, name: str, loss: Tensor) -> None:
        """One step of one optimiser down a loss. No other network gets gradients, so none need be frozen."""
        optimiser = self._optimisers[name]
        optimiser.zero_grad()
        loss.backward(inputs=[weight for group in optimiser.param_groups for weight in group["params"]])
        optimiser.step()

    def begin(self) -> None:
        """Make the optimisers and put all networks into training mode: what `step` needs and embedding does not.

        Raises:
            ValueError: an optimiser has no averages yet, which could then not be restored, or on a GPU a learning rate
                that a captured step would not follow.
        """
        self.train()
        self._optimisers = self.optimisers()
        for name, optimiser in self._optimisers.items():
            for group in optimiser.param_groups:
                unready = any(weight not in optimiser.state for weight in group["params"])
                if unready or (self.device.type == "cuda" and not isinstance(group["lr"], Tensor)):
                    raise ValueError(f"optimiser '{name}' cannot be saved or captured: make it with `self.adam`")

    def set_learning_rate(self, value: float) -> None:
        """Set the learning rate of all optimisers."""
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(value)
                else:
                    group["lr"] = value

    def state(self) -> dict[str, Tensor]:
        """Everything the next iterations depend on besides options, images and iteration; copies, on the CPU."""
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors().items()}
        return copies | {"random": self.random.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Become what `state` described; tensors keep their place in memory and its layout.

        Raises:
            KeyError: a tensor is missing.
        """
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state[name])
        self.random.set_state(state["random"])

    def _tensors(self) -> dict[str, Tensor]:
        """Weights, buffers and the optimisers' averages: the very tensors, by name."""
        names = {weight: name for name, weight in self.named_parameters()}
        averages = {
            f"optimiser.{name}.{names[weight]}.{key}": tensor
            for name, optimiser in self._optimisers.items()
            for weight, tensors in optimiser.state.items()
            for key, tensor in tensors.items()
        }
        buffers = {name: buffer for name, buffer in self.named_buffers() if name != "progress"}
        return dict(self.named_parameters()) | buffers | averages


def make(kind: type[Method], setup: Setup) -> Method:
    """A method on its device, its weights drawn from the seed; global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        method = kind(setup)
    return method.to(setup.device, memory_format=torch.channels_last)


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the networks' arithmetic: "fp32", "bf16", or "auto".

    "auto" is bfloat16 where the hardware multiplies in it, else float32.
    """
    if precision == "auto":
        on_gpu = device.type == "cuda"
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else _cpu_multiplies_bf16()
        precision = "bf16" if fast else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products in bfloat16 (AMX or AVX512_BF16), asked of torch.

    With AVX512_BF16 alone a step of AGE at 32 px took 0.6 of its time in float32 (docs/decisions/0003).
    """
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
