"""What a training says about itself while it runs: readings, and an end that is called by its name."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from visrec.training import losses

# The game swings widely in its first hundreds of iterations: the variance of e(x) was seen to fall to 0.7 % of the
# healthy one and to come back within 30 iterations. So only what lasts this long is called a collapse.
COLLAPSED_BELOW = 0.01
COLLAPSED_ITERATIONS = 1000
COLLAPSED_READINGS = 3


def reading(encoder_terms: Mapping[str, Tensor], generator_terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The measures in one row of history.csv, from what the last two updates returned."""
    e_real, e_fake = encoder_terms["e_real"], encoder_terms["e_fake"]
    mean, variance = losses.moments(e_real)
    latent = e_real.shape[1]
    healthy = 1 / latent  # v_j of the uniform sphere
    row = {
        "loss_encoder": encoder_terms["loss"],
        "loss_generator": generator_terms["loss"],
        "kl_real": encoder_terms["kl_real"],
        "kl_fake": encoder_terms["kl_fake"],
        "kl_exact_real": losses.kl_exact(e_real),
        "kl_exact_fake": losses.kl_exact(e_fake),
        "pixel_match": encoder_terms["pixel_match"],
        "latent_match": generator_terms["latent_match"],
        "latent_cosine": latent * (2 - generator_terms["latent_match"]),
        "variance_min": variance.min() / healthy,
        "variance_mean": variance.mean() / healthy,
        "variance_max": variance.max() / healthy,
        "fake_variance_mean": losses.moments(e_fake)[1].mean() / healthy,
        "mean_norm": mean.norm(),
        "sample_spread": encoder_terms["fake"].std(dim=0).mean() / encoder_terms["real"].std(dim=0).mean(),
    }
    return dict(zip(row, torch.stack(list(row.values())).tolist(), strict=True))  # one read from the device


def diagnose(history: Sequence[Mapping[str, float]]) -> tuple[str, str]:
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
