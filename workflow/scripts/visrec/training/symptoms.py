"""Warnings while AGE trains: what is out of its healthy range, and what is likely behind it.

No result depends on them, so code fingerprints leave this file out.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from visrec.training.losses import HEALTHY_COSINE, HEALTHY_KL, HEALTHY_VARIANCE, kl_ideal

log = logging.getLogger(__name__)

# The game swings widely in its first hundreds of iterations.
AFTER = 1000  # iterations
READINGS = 5


def found(history: Sequence[Mapping[str, float]], spec: Mapping[str, Any]) -> dict[str, str]:
    """What is out of its healthy range: {name: one line with the likely cause}.

    A symptom shows in the median of the last READINGS rows, from iteration AFTER on.

    Args:
        history: rows of history.csv so far.
        spec: the options of the encoder `age` at stage train.
    """
    if len(history) < READINGS or history[-1]["iteration"] < AFTER:
        return {}
    recent = history[-READINGS:]

    def median(name: str) -> float:
        return sorted(row[name] for row in recent)[READINGS // 2]

    names = {}
    if (variance := median("variance_mean")) < HEALTHY_VARIANCE:
        names["variance_mean"] = (
            f"latents of real images have {variance:.2f} of the healthy variance: the encoder is collapsing; "
            "a smaller `latent`, larger `mu_x` and `lambda_z` or more `generator_steps` have helped"
        )
    ideal = kl_ideal(spec["kl"], spec["latent"])
    if (kl := median("kl_fake")) > HEALTHY_KL * ideal:
        names["kl_fake"] = (
            f"the divergence of fakes is {kl / ideal:.2f} times that of the uniform sphere: the encoder gains by "
            "shrinking their latents without end; more `generator_steps` or a smaller `learning_rate` let the "
            "generator follow"
        )
    if (cosine := median("latent_cosine")) < HEALTHY_COSINE:
        names["latent_cosine"] = (
            f"the cosine of z and e(g(z)) is {cosine:.2f}: latents are not found again; is `lambda_z` too small, or "
            "swapped with `mu_x`? lambda_z weighs the generator's latent match, mu_x the encoder's pixel match"
        )
    return names


def warn(history: Sequence[Mapping[str, float]], spec: Mapping[str, Any], warned: list[str]) -> None:
    """Log what is found, each name once; `warned` keeps the names."""
    for name, what in found(history, spec).items():
        if name not in warned:
            warned.append(name)
            log.warning("iteration %d: %s", history[-1]["iteration"], what)
