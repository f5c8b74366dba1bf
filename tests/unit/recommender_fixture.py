"""A small experiment whose trials recommend: pictures of noise, embedded as pixels and as principal components."""

import numpy as np
import torch
from PIL import Image

from visrec.data.embeddings import write_embeddings
from visrec.data.hdf5 import SPLITS
from visrec.data.images import ImageFile, ImageSet, ImageSource, write_images
from visrec.experiment import registry

PIXELS = "experiment/shoes/16px/pixels/seed~0"


def shade(number):
    """One picture, uint8 (3, 16, 16), unlike all others."""
    return np.random.default_rng(number).integers(0, 250, (3, 16, 16)).astype(np.uint8)


def save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shade(number).transpose(1, 2, 0)).save(path)


def make(root):
    """Thirty training images at root/experiment/shoes/16px, embedded; and ten other pictures at root/photos."""
    images = root / "experiment/shoes/16px/images.h5"
    splits = {
        split: ImageSource(
            [np.stack([shade(start + i) for i in range(count)])],
            np.arange(count) % 2,
            np.array([f"{split}{i}" for i in range(count)]),
        )
        for split, start, count in (("train", 0, 30), ("val", 100, 4), ("test", 200, 4))
    }
    write_images(images, ImageSet(splits, ["left", "right"], "by hand", "random"), 16)
    for name, options in (("pixels", {}), ("pca", {"components": 5})):
        folder, encoder = images.parent / name / "seed~0", registry.load("encoders", name)
        folder.mkdir(parents=True)
        model, source = folder / "model.safetensors", ImageFile(images)
        if name == "pca":
            encoder.fit(source.images("train"), options, 0, model)
        extract = encoder.extractor(model, source, options, 0, torch.device("cpu"))
        batches = {split: [extract(source.images(split), source.ids(split))] for split in SPLITS}
        spec = {"encoder": name, "options": options, "seed": 0, "seen": "train"}
        write_embeddings(folder / "embeddings.h5", images, batches, spec=spec)
    for i in range(10):
        save(root / f"photos/{'boots' if i < 5 else 'shoes'}/{i}.png", 300 + i)
    return root
