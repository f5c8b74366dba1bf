"""Small archives with the inner structure of the official ones: each function writes into a folder, name -> path."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.io
from PIL import Image

from visrec import datasets
from visrec.data.images import ImageSet, ImageSource
from visrec.errors import UserError
from visrec.experiment import registry

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair "
    "Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair "
    "Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face "
    "Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair "
    "Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
).split()
WORDS = ["goldfish, Carassius auratus", "European fire salamander", "bullfrog, Rana catesbeiana", "tailed frog"]


def checksum(path: Path, algorithm: str = "md5") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


def pixels(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): smooth colours with some noise, so that JPEG and resizing have work to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    smooth = np.stack([np.asarray(Image.fromarray(each).resize((width, height), 3)) for each in coarse]).astype(int)
    return (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for folder in sorted({f"{Path(name).parent.as_posix()}/" for name in members}):
            file.writestr(folder, b"")
        for name, data in members.items():
            file.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], folder: str = "") -> Path:
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        if folder:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


# SVHN


def svhn(folder: Path, train: int = 60, test: int = 50) -> dict[str, Path]:
    paths = {}
    for seed, (part, count) in enumerate({"train": train, "test": test}.items()):
        labels = np.arange(count) % 10 + 1  # the digit 0 is written as 10
        paths[f"{part}_32x32.mat"] = svhn_file(
            folder / f"{part}_32x32.mat", pixels(count, 32, 32, seed).transpose(1, 2, 3, 0), labels[:, None]
        )
    return paths


def svhn_file(path: Path, X: np.ndarray, y: np.ndarray) -> Path:
    scipy.io.savemat(path, {"X": X, "y": y.astype(np.uint8) if y.min() >= 0 else y}, do_compression=True)
    return path


# CIFAR-10


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its `str`, which is how the official batches are written."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_python2(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)

    dispatch[str] = dispatch[bytes] = save_python2


def python2_pickle(content: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def cifar10_members(per_batch: int = 20) -> dict[str, bytes]:
    members = {}
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        data = pixels(per_batch, 32, 32, seed).transpose(0, 3, 1, 2).reshape(per_batch, -1)
        content = {
            "batch_label": name,
            "labels": [(row + seed) % 10 for row in range(per_batch)],
            "data": np.ascontiguousarray(data),
            "filenames": [f"{name}_{row}.png" for row in range(per_batch)],
        }
        members[f"cifar-10-batches-py/{name}"] = python2_pickle(content)
    meta = {"num_cases_per_batch": per_batch, "label_names": CIFAR_CLASSES, "num_vis": 3072}
    return {"cifar-10-batches-py/batches.meta": python2_pickle(meta), **members}


def cifar10(folder: Path, per_batch: int = 20) -> dict[str, Path]:
    return {
        "cifar-10-python.tar.gz": write_tar(
            folder / "cifar-10-python.tar.gz", cifar10_members(per_batch), "cifar-10-batches-py"
        )
    }


# CelebA


def celeba_texts(count: int) -> tuple[list[str], list[str]]:
    """Lines of list_attr_celeba.txt and of identity_CelebA.txt."""
    rng = np.random.default_rng(0)
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    values = rng.choice([-1, 1], (count, 40))
    rows = [f"{name} " + " ".join(f"{value:2d}" for value in row) for name, row in zip(names, values, strict=True)]
    identity = [f"{name} {number}" for name, number in zip(names, rng.integers(1, 6, count), strict=True)]
    return [str(count), " ".join(ATTRIBUTES) + " ", *rows], identity


def celeba_members(count: int) -> dict[str, bytes]:
    faces = pixels(count, 218, 178)
    return {f"img_align_celeba/{number + 1:06d}.jpg": jpeg(face) for number, face in enumerate(faces)}


def celeba(folder: Path, count: int = 24) -> dict[str, Path]:
    attributes, identity = celeba_texts(count)
    paths = {name: folder / name for name in ("img_align_celeba.zip", "list_attr_celeba.txt", "identity_CelebA.txt")}
    write_zip(paths["img_align_celeba.zip"], celeba_members(count))
    paths["list_attr_celeba.txt"].write_text("\n".join(attributes) + "\n")
    paths["identity_CelebA.txt"].write_text("\n".join(identity) + "\n")
    return paths


# Tiny ImageNet


def tiny_imagenet_members(train: int = 6, val: int = 4) -> dict[str, bytes]:
    """Four classes; `train` and `val` images of each, 5 of the official test. One in each class is grey."""
    root, wnids = "tiny-imagenet-200", ["n01641577", "n01443537", "n01644900", "n01629819"]  # in no order
    members, annotations = {}, []
    for label, wnid in enumerate(wnids):
        boxes = []
        for number, picture in enumerate(pixels(train, 64, 64, label)):
            name = f"{wnid}_{number}.JPEG"
            members[f"{root}/train/{wnid}/images/{name}"] = jpeg(picture[..., 0] if number == 1 else picture)
            boxes.append(f"{name}\t0\t10\t63\t58")
        members[f"{root}/train/{wnid}/{wnid}_boxes.txt"] = ("\n".join(boxes) + "\n").encode()
    for number, picture in enumerate(pixels(val * len(wnids), 64, 64, 9)):
        members[f"{root}/val/images/val_{number}.JPEG"] = jpeg(picture)
        annotations.append(f"val_{number}.JPEG\t{wnids[number % len(wnids)]}\t0\t32\t44\t62")
    for number, picture in enumerate(pixels(5, 64, 64, 10)):
        members[f"{root}/test/images/test_{number}.JPEG"] = jpeg(picture)
    words = [f"{wnid}\t{text}" for wnid, text in zip(sorted(wnids), WORDS, strict=True)] + ["n99999999\tnot among them"]
    members[f"{root}/val/val_annotations.txt"] = ("\n".join(annotations) + "\n").encode()
    members[f"{root}/wnids.txt"] = ("\n".join(wnids) + "\n").encode()
    members[f"{root}/words.txt"] = ("\n".join(words) + "\n").encode()
    return members


def tiny_imagenet(folder: Path, train: int = 6, val: int = 4) -> dict[str, Path]:
    return {"tiny-imagenet-200.zip": write_zip(folder / "tiny-imagenet-200.zip", tiny_imagenet_members(train, val))}


# Emoji


def emoji_table(count: int = 24) -> list[dict[str, object]]:
    """Entries of emoji.json: three categories of two subcategories each, and an entry that only Google has."""
    table = []
    for number in range(count + 1):
        category = number % 3
        unified = f"{0x1F600 + number:X}" + ("-FE0F" if number % 2 else "")
        table.append(
            {
                "name": f"THING {number}",
                "unified": unified,
                "image": f"{unified.lower()}.png",
                "short_name": f"thing_{number}",
                "category": ["Smileys & Emotion", "Flags", "Objects"][category],
                "subcategory": f"part-{category}{number // 3 % 2}",
                "has_img_google": True,
                "has_img_twitter": number != count,
                # A tone of skin has a picture of its own, and is no entry.
                "skin_variations": {"1F3FB": {"image": f"{unified.lower()}-1f3fb.png", "has_img_google": True}},
            }
        )
    return table


def emoji_members(kind: str, count: int = 24) -> dict[str, bytes]:
    """One artist's package: palettes, grey with transparency, and the third and sixth thing drawn alike by Twitter."""
    members = {"package/package.json": b"{}", "package/emoji.json": json.dumps(emoji_table(count)).encode()}
    base, own = pixels(count + 1, 64, 64, 3), pixels(count + 1, 64, 64, 4 if kind == "google" else 5)
    for number, entry in enumerate(emoji_table(count)):
        if not entry[f"has_img_{kind}"]:
            continue
        alike = 2 if (kind, number) == ("twitter", 5) else number
        picture = Image.fromarray(((3 * base[alike].astype(int) + own[alike]) // 4).astype(np.uint8)).convert("RGBA")
        picture.putalpha(Image.fromarray(np.tri(64, dtype=np.uint8) * 255))  # upper right is transparent
        mode = {1: "LA", 2: "P"}.get(alike % 6, "RGBA")
        stream = io.BytesIO()
        (picture.quantize(32) if mode == "P" else picture.convert(mode)).save(stream, "PNG")
        members[f"package/img/{kind}/64/{entry['image']}"] = stream.getvalue()
        members[f"package/img/{kind}/64/{entry['image'].removesuffix('.png')}-1f3fb.png"] = stream.getvalue()
    return members


def emoji(folder: Path, count: int = 24) -> dict[str, Path]:
    paths = {}
    for kind in ("google", "twitter"):
        name = f"emoji-datasource-{kind}-16.0.0.tgz"
        paths[name] = write_tar(folder / name, emoji_members(kind, count))
    return paths


# Reading them


def read(component: str, size: int, paths: dict[str, Path], threads: int = 2, **options: object) -> ImageSet:
    """What a dataset component makes of archives, with its declared defaults and the options given."""
    declared = registry.declared("datasets", component)["OPTIONS"]
    defaults = {name: option["default"] for name, option in declared.items()}
    assert set(options) <= set(defaults)
    return registry.load("datasets", component).read(size, defaults | options, paths, threads)


def images(source: ImageSource) -> dict[str, np.ndarray]:
    """Id -> uint8 (3, S, S)."""
    return dict(zip(source.ids.tolist(), np.concatenate(list(source.batches)), strict=True))


def prepare(component: str, paths: dict[str, Path], out: Path, size: int = 32, **options: object) -> None:
    """The whole way to images.h5, with the checksums that the files have."""
    declared = registry.declared("datasets", component)["OPTIONS"]
    defaults = {name: option["default"] for name, option in declared.items()}
    files = {name: (path, checksum(path)) for name, path in paths.items()}
    datasets.prepare(component, size, defaults | options, files, 1, out)


def refused(component: str, paths: dict[str, Path], folder: Path, match: str, **options: object) -> None:
    """`prepare` ends in a `UserError` of one line, and leaves nothing behind."""
    out = folder / "prepared" / "images.h5"
    with pytest.raises(UserError, match=match) as error:
        prepare(component, paths, out, **options)
    assert "\n" not in str(error.value)
    assert not out.parent.exists() or not list(out.parent.iterdir())
