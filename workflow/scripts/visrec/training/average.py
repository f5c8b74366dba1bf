"""An average of a method's weights over its iterations, which is read, drawn and embedded in their place.

    a_t = a_(t-1) + (1 - d_t) (w_t - a_(t-1)),    d_t = min(decay, t / (t + 9))

The networks of a game circle around what they play for, and their average stands still (Yazici et al.,
arXiv:1806.04498). d_t is small at first, so that little is left of the weights before training.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from visrec.training.method import Method, Setup, make

STATE = "average."  # before the names of its tensors in a state
WARM_UP = 9  # d_1 = 1/10: nine tenths of a_1 are w_1


class Average:
    """The average of one training.

    Attributes:
        method: with the averages as its weights and buffers, in evaluation mode; it has no optimisers.
    """

    def __init__(self, kind: type[Method], setup: Setup, decay: float):
        """Begin from the weights that the method starts with.

        Args:
            kind: the method.
            setup: what it is built for.
            decay: d, from 0 to below 1; about the last 1 / (1 - d) iterations count.
        """
        self.method, self.decay = make(kind, setup).eval(), decay

    @torch.no_grad()
    def follow(self, method: Method, iteration: int) -> None:
        """Take the weights after an iteration, from 1, into account. Counts of batches are copied."""
        averages, weights = self.method.state_dict(), method.state_dict()
        moving = [name for name, tensor in averages.items() if tensor.is_floating_point()]
        lerp = get_ema_multi_avg_fn(min(self.decay, iteration / (iteration + WARM_UP)))  # all at once on a GPU
        lerp([averages[name] for name in moving], [weights[name] for name in moving], None)
        for name in averages.keys() - moving:
            averages[name].copy_(weights[name])

    def state(self) -> dict[str, Tensor]:
        """What a training that goes on needs of it; copies, on the CPU."""
        return {STATE + name: tensor for name, tensor in self.method.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Become what `state` described; other tensors of a state are left aside.

        Raises:
            KeyError: a tensor is missing.
        """
        self.method.restore({name.removeprefix(STATE): each for name, each in state.items() if name.startswith(STATE)})
