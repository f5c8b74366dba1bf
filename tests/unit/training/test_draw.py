import pytest
import torch
from torchvision.utils import make_grid, save_image

from visrec.training import draw


@pytest.mark.parametrize("count", [2, 16, 17, 64])
def test_pictures_are_tiled_as_torchvision_does_it(count):
    pictures = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) * 2 - 1
    assert torch.equal(draw.tiled(pictures), make_grid(pictures, draw.COLUMNS, padding=draw.GAP, pad_value=1))


def test_the_file_is_torchvisions_byte_for_byte(tmp_path, monkeypatch):
    pictures = torch.rand(20, 3, 8, 8) * 2.2 - 1.1
    pictures[0, 0, 0, 0] = torch.nan
    monkeypatch.setattr(draw, "read_image_info", lambda path: None)
    monkeypatch.setattr(draw.models, "load", lambda *given: None)
    monkeypatch.setattr(draw, "samples", lambda method: pictures)
    draw.draw("samples", None, "model", "images", torch.device("cpu"), tmp_path / "own.png")
    grid = make_grid(pictures.nan_to_num(-1).clamp(-1, 1), draw.COLUMNS, padding=2, pad_value=1)
    save_image((grid + 1) / 2, tmp_path / "theirs.png")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()
