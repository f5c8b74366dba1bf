"""Studies are scripts behind single numbers of docs/results.md; they find what they say that they look for."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from script_fixture import load_script

STUDIES = Path(__file__).parents[2] / "studies"


def test_the_search_for_latents_ends_at_the_best_on_the_sphere():
    """Pictures are latents themselves, so the best of a picture on the sphere is the picture."""
    latents = load_script(STUDIES / "latents.py")
    generator = torch.Generator().manual_seed(0)
    best = latents.unit(torch.randn(5, 3, generator=generator))
    start = latents.unit(best + 0.3 * torch.randn(5, 3, generator=generator))
    found = latents.searched(SimpleNamespace(decode=lambda z: z), start, best, steps=300)
    assert list(found) == [10, 300]
    for latent in found.values():
        assert latent.norm(dim=1).tolist() == pytest.approx([1] * 5)
    errors = [(latent - best).abs().mean().item() for latent in (start, *found.values())]
    assert errors[0] > errors[1] > 10 * errors[2]
    assert errors[2] < 0.005


def test_a_trial_that_is_not_in_the_config_is_one_line(tmp_path):
    config = Path(__file__).parents[2] / "config/config.yaml"
    command = [sys.executable, STUDIES / "latents.py", "--configfile", config, "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: nothing: is no trial of" in done.stderr
    assert "Traceback" not in done.stderr
