import functools
import io
import itertools
import os
import signal
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import fuzz
import numpy as np
import pytest
from PIL import Image, ImageOps, features
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import CenterCrop, Resize

from visrec.data import pictures
from visrec.data.pictures import MAX_BYTES, PictureError, decode, decoded
from visrec.errors import StoppedError, UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)  # height, width
WHITE, RED, GREEN, BLUE, BLACK = (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def encode(picture, format="PNG", **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def colours(array):
    """(3, S, S) -> rows of colours."""
    return [[tuple(colour) for colour in row] for row in array.transpose(1, 2, 0).tolist()]


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000"])
def test_lossless_formats_give_the_pixels_back(format):
    square = np.array([[RED, GREEN], [BLUE, BLACK]], np.uint8).repeat(8, 0).repeat(8, 1)
    options = {"WEBP": {"lossless": True}}.get(format, {})
    assert np.array_equal(decode(encode(square, format, **options), 16), square.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize(
    ("format", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "1")]
)
def test_same_pixels_as_torchvision(format, mode, size, tmp_path):
    path = tmp_path / f"picture.{format.lower()}"
    path.write_bytes(encode(Image.fromarray(PIXELS).convert(mode), format))
    expected = np.asarray(Resize((size, size))(pil_loader(path))).transpose(2, 0, 1)
    made = decode(path, size)
    assert (made.dtype, made.shape) == (np.uint8, (3, size, size))
    assert np.array_equal(made, expected)


def test_crop_resizes_and_keeps_rows():
    """The crop of the AGE authors for CelebA: torchvision's Resize(64) and CenterCrop(64) of 178 x 218."""
    face = Image.fromarray(RNG.integers(0, 256, (218, 178, 3), dtype=np.uint8))
    expected = np.asarray(CenterCrop(64)(Resize(64)(face))).transpose(2, 0, 1)
    assert np.array_equal(decode(encode(face), 64, crop=(78, 7)), expected)
    assert not np.array_equal(decode(encode(face), 64, crop=(78, 8)), expected)


# What a picture stored as [[red, green], [blue, black]] must look like (EXIF 2.32, tag 274): for 6, for example, the
# first row of the file is the right-hand side of the picture.
ORIENTED = {
    1: [[RED, GREEN], [BLUE, BLACK]],
    2: [[GREEN, RED], [BLACK, BLUE]],
    3: [[BLACK, BLUE], [GREEN, RED]],
    4: [[BLUE, BLACK], [RED, GREEN]],
    5: [[RED, BLUE], [GREEN, BLACK]],
    6: [[BLUE, RED], [BLACK, GREEN]],
    7: [[BLACK, GREEN], [BLUE, RED]],
    8: [[GREEN, BLACK], [RED, BLUE]],
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation(orientation, format):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    stored = np.array([[RED, GREEN], [BLUE, BLACK]], np.uint8).repeat(8, 0).repeat(8, 1)
    made = decode(encode(stored, format, exif=exif, **options), 16).astype(int)
    expected = np.array(ORIENTED[orientation]).repeat(8, 0).repeat(8, 1).transpose(2, 0, 1)
    assert np.abs(made - expected).max() <= (3 if format == "JPEG" else 0)


def test_a_rotated_picture_is_turned_before_its_aspect_is_lost():
    exif = Image.Exif()
    exif[274] = 6
    upright = Image.fromarray(PIXELS)
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(decode(encode(lying, exif=exif), 16), decode(encode(upright), 16))


def test_transparency_is_laid_on_white():
    rgba = np.array([[(*RED, 255), (*RED, 0)], [(*BLACK, 51), (*BLUE, 255)]], np.uint8)
    assert colours(decode(encode(rgba), 2)) == [[RED, WHITE], [(204, 204, 204), BLUE]]  # 255 (1 - 51/255) = 204
    grey = Image.merge("LA", [Image.new("L", (2, 2), 100), Image.fromarray(np.array([[255, 0], [0, 255]], np.uint8))])
    assert colours(decode(encode(grey), 2)) == [[(100,) * 3, WHITE], [WHITE, (100,) * 3]]


def test_a_transparent_colour_is_white():
    palette = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "L").convert("P")
    palette.putpalette([*RED, *GREEN, *BLUE])
    assert colours(decode(encode(palette), 2)) == [[RED, GREEN], [BLUE, RED]]
    assert colours(decode(encode(palette, transparency=1), 2)) == [[RED, WHITE], [BLUE, RED]]
    assert colours(decode(encode(palette, "GIF", transparency=1), 2)) == [[RED, WHITE], [BLUE, RED]]
    rgb = np.array([[RED, GREEN]], np.uint8)
    assert colours(decode(encode(rgb, transparency=GREEN), 2))[0] == [RED, WHITE]
    deep = np.array([[0, 65535, 7, 256]], np.uint16)
    assert decode(encode(deep, transparency=7), 4)[0, 0].tolist() == [0, 255, 255, 1]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_not_clipped(format):
    deep = np.array([[0, 257, 256, 128], [129, 32768, 65407, 65535]], np.uint16)
    made = decode(encode(deep, format), 4)
    # v / 257: 0, 1, 0.996, 0.498; 0.502, 127.502, 254.502, 255
    assert made[0, 0].tolist() == [0, 1, 1, 0]
    assert made[0, 3].tolist() == [1, 128, 255, 255]
    assert (made == made[0]).all()


def test_big_endian_16_bits():
    deep = np.array([[0, 32768, 65535, 257]], ">u2")
    data = encode(Image.frombytes("I;16B", (4, 1), deep.tobytes()), "TIFF")
    assert decode(data, 4)[1, 0].tolist() == [0, 128, 255, 1]


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert colours(decode(data, 2)) == [[RED, RED], [RED, RED]]


JPEG = encode(PIXELS, "JPEG")
BROKEN = {
    "zero bytes": (b"", "is empty (0 bytes)"),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "cannot be decoded: image file is truncated"),
    "header alone": (JPEG[:20], "is not a picture of a known format"),
    "truncated PNG": (encode(PIXELS)[:3000], "cannot be decoded: image file is truncated"),
    "text": (b"not a picture at all", "is not a picture of a known format"),
    "an error page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "is an HTML page, not a picture"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "is not a picture of a known format"),
    "HEIC": (b"\0\0\0\x18ftypheic" + b"\0" * 100, "is HEIC, which is not read; save it as JPEG"),
    "JPEG XL": (b"\xff\x0a\0\0", "is JPEG XL, which is not read; save it as JPEG"),
    "PDF": (b"%PDF-1.4", "is a PDF, which is not read"),
    "float": (encode(np.ones((4, 4), np.float32), "TIFF"), "has 32-bit values of no known range; save it with 8 or"),
    "32 bits": (encode(np.ones((4, 4), np.int32), "TIFF"), "has 32-bit values of no known range; save it with 8 or"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pictures_say_why(case):
    data, reason = BROKEN[case]
    with pytest.raises(PictureError) as caught:
        decode(data, 8, name="shoe.jpg")
    assert caught.value.reason.startswith(reason)
    assert caught.value.name == "shoe.jpg"
    assert str(caught.value).startswith(f"shoe.jpg: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [9_460, 40_000])  # the first is below the limit at which Pillow itself refuses
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_not_unpacked(side):
    bomb = bytearray(encode(Image.new("1", (8, 8))))
    bomb[16:24] = side.to_bytes(4, "big") * 2  # width and height in the header, and its checksum
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(PictureError, match="has more than 89,478,485 pixels"):
        decode(bytes(bomb), 8)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(PictureError, match=r"none.png: cannot be opened: No such file"):
        decode(tmp_path / "none.png", 8)
    with (tmp_path / "large.tif").open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(PictureError, match=r"large.tif: has 512 MB; a picture has at most 512"):
        decode(tmp_path / "large.tif", 8)
    with pytest.raises(PictureError, match=r"cannot be opened: Is a directory"):
        decode(tmp_path, 8)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow grumbles about damaged EXIF
@fuzz.tries(600, 3000)
def test_damage_anywhere_is_a_picture_error(tries):
    """A bit of fuzzing: no byte may lead to an error of another kind, which would not name the picture."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a shoe"
    small = PIXELS[:12, :16]
    good = [encode(small, format, exif=exif) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
    good += [encode(small, format) for format in ("GIF", "BMP", "PPM")]
    good += [encode(small, "AVIF")] if features.check("avif") else []
    outcomes = set()
    for _ in range(tries):
        data = bytearray(good[rng.integers(len(good))])
        for place in rng.integers(0, len(data) if rng.random() < 0.5 else 100, 3):
            data[place] = rng.integers(256)
        with fuzz.cheap():
            try:
                decode(bytes(data[: rng.integers(1, len(data)) if rng.random() < 0.3 else None]), 8)
                outcomes.add("good")
            except PictureError:
                outcomes.add("broken")
    assert outcomes == {"good", "broken"}


def grey(value):
    return encode(np.full((3, 3), value, np.uint8))


def values(batches):
    return np.concatenate([batch[:, 0, 0, 0] for batch in batches]).tolist()


def items(count):
    return [(f"{row}.png", grey(row % 251)) for row in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_order_and_batches_whatever_the_threads(threads):
    batches = list(decoded(items(600), 8, threads))
    assert [len(batch) for batch in batches] == [256, 256, 88]
    assert values(batches) == [row % 251 for row in range(600)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.uint8)}
    assert batches[0].shape == (256, 3, 8, 8)


def test_no_pictures_no_batches():
    assert list(decoded([], 8, 2)) == []


def test_large_pictures_come_in_small_batches(monkeypatch):
    monkeypatch.setattr(pictures, "BATCH_BYTES", 3 * 8 * 8 * 5)
    assert [len(batch) for batch in decoded(items(12), 8, 2)] == [5, 5, 2]
    monkeypatch.setattr(pictures, "BATCH_BYTES", 1)
    assert values(decoded(items(3), 8, 2)) == [0, 1, 2]


def test_paths_bytes_and_functions_are_the_same(tmp_path):
    (tmp_path / "a.png").write_bytes(grey(9))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("a.png", grey(9))
    with zipfile.ZipFile(tmp_path / "archive.zip") as archive:
        sources = [tmp_path / "a.png", grey(9), lambda: archive.read("a.png")]
        assert values(decoded([("a.png", source) for source in sources], 8, 2)) == [9, 9, 9]


def test_a_damaged_archive_member_is_a_broken_picture(tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", grey(9))
    path.write_bytes(path.read_bytes().replace(b"IDAT", b"IDxT"))
    with zipfile.ZipFile(path) as archive, pytest.raises(UserError, match=r"^a.png: cannot be opened: Bad CRC-32"):
        list(decoded([("a.png", lambda: archive.read("a.png"))], 8, 1))


def test_stop_names_the_first_broken_picture():
    bad = items(600)
    bad[300], bad[301] = ("first.png", b""), ("second.png", b"")
    batches = decoded(bad, 8, 3, remedy="throw it away")
    assert len(next(batches)) == 256
    with pytest.raises(UserError, match=r"^first\.png: is empty \(0 bytes\); throw it away$"):
        next(batches)


def test_skip_lists_broken_pictures_by_row():
    bad, broken = items(600), []
    bad[20], bad[599] = ("first.png", b""), ("second.png", b"x")
    made = values(decoded(bad, 8, 3, broken=broken))
    assert broken == [(20, "is empty (0 bytes)"), (599, "is not a picture of a known format")]
    assert (made[20], made[599]) == (0, 0)
    assert (made[19], made[21], made[598]) == (19, 21, 598 % 251)


@pytest.mark.parametrize("threads", [1, 2, 40])
def test_only_a_few_batches_are_ever_ahead(threads):
    """What was taken from the source and not yet handed on is bounded, so that memory does not grow with the number."""
    taken, handed, most = 0, 0, 0

    def source():
        nonlocal taken
        for _ in range(8000):
            taken += 1
            yield ("a.png", data)

    data = grey(1)
    for batch in decoded(source(), 8, threads):
        most = max(most, taken - handed)
        handed += len(batch)
    assert handed == 8000
    assert most <= 256 * (2 + threads * 16 // 256)
    assert most >= min(8000, threads * 16)  # and no thread is idle


def test_threads_are_used_and_go_away():
    seen = set()
    barrier = threading.Barrier(2, timeout=20)

    def source():
        if len(seen) < 2:
            seen.add(threading.current_thread())
            barrier.wait()  # only two threads at once can pass
        return grey(1)

    pair = [("a.png", source)] + [("b.png", grey(2))] * 15 + [("c.png", source)]
    assert len(values(decoded(pair, 8, 2))) == 17
    assert len(seen) == 2
    assert not any(thread.is_alive() for thread in seen)


def test_stopping_early_ends_the_threads():
    before = threading.active_count()
    batches = decoded(items(2000), 8, 2)
    next(batches)
    batches.close()
    assert threading.active_count() <= before + 1  # tqdm keeps a monitor


def children() -> set[int]:
    """Processes that this one started."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    if not path.exists():
        pytest.skip("needs the list of a process's children, Linux's /proc")
    return {int(pid) for pid in path.read_text().split()}


@pytest.fixture
def by_processes(monkeypatch):
    monkeypatch.setattr(pictures, "MANY", 10)


def test_many_are_decoded_by_processes_in_the_same_way(by_processes, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("good.png", grey(9))
        archive.writestr("bad.png", grey(8))
    path = tmp_path / "archive.zip"
    before, last = path.read_bytes().split(b"bad.png", 1)
    path.write_bytes(before + b"bad.png" + last.replace(b"IDAT", b"IDxT"))
    (tmp_path / "a.png").write_bytes(grey(7))
    with zipfile.ZipFile(path) as archive:
        bad, broken = items(600), []
        bad[5:8] = [(each, functools.partial(archive.read, each)) for each in ("good.png", "bad.png", "none.png")]
        bad[300:302] = [("a.png", tmp_path / "a.png"), ("empty.png", b"")]
        batches = list(decoded(bad, 8, 2, broken=broken))
        with pytest.raises(UserError, match=r"^bad\.png: cannot be opened: Bad CRC-32 .*; throw it away$"):
            list(decoded(bad, 8, 2, remedy="throw it away"))
    assert [len(batch) for batch in batches] == [256, 256, 88]
    expected = [row % 251 for row in range(600)]
    expected[5:8], expected[300:302] = [9, 0, 0], [7, 0]
    assert values(batches) == expected
    assert [row for row, _ in broken] == [6, 7, 301]
    assert broken[2][1] == "is empty (0 bytes)"
    assert broken[0][1].startswith("cannot be opened: Bad CRC-32")


def test_processes_are_used_and_stopping_early_ends_them(by_processes):
    before = children()
    batches = decoded(items(3000), 8, 2)
    next(batches)
    assert len(children() - before) == 2
    batches.close()
    assert children() <= before


def test_a_process_that_is_killed_is_one_line(by_processes):
    before = children()
    batches = decoded(items(3000), 8, 2)
    next(batches)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(UserError, match="a process that decodes pictures was ended from outside; give the job more"):
        list(batches)
    assert children() <= before


def exif_bytes(orientation: bytes, *more: bytes, order: str = "<") -> bytes:
    """An EXIF record of raw entries (tag, type, count, four bytes of value), sorted by tag."""
    entries = sorted([orientation, *more], key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


def entry(tag: int, kind: int, value: bytes, order: str = "<", count: int = 1) -> bytes:
    return struct.pack(f"{order}HHI", tag, kind, count) + value.ljust(4, b"\0")


SIX = entry(274, 3, b"\x06\0")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_as_pillow_turns_it(orientation, format):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}}.get(format, {})
    data = encode(PIXELS, format, exif=exif, **options)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data, 16), decode(encode(turned.convert("RGB")), 16))
    assert pictures.thumbnail(data, 100).size == turned.size


def test_orientation_in_xmp_alone():
    upright = encode(Image.fromarray(PIXELS))
    lying = Image.fromarray(PIXELS).transpose(Image.Transpose.ROTATE_90)
    data = encode(lying, "WEBP", lossless=True, xmp=b'<x:xmpmeta tiff:Orientation="6"/>')
    assert np.array_equal(decode(data, 16), decode(upright, 16))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_odd_exif_tag_refuses_no_picture():
    """Photographs whose EXIF has one entry of an odd type, count or offset: they are turned all the same."""
    expected = decode(encode(PIXELS, "JPEG", exif=exif_bytes(SIX)), 16)
    tags = (0x10F, 0x112, 0x11A, 0x132, 0x213, 0x8298, 0x8769, 0x8825, 0x9286, 0xA005, 0xFFFF)
    for tag, kind, count in itertools.product(tags, range(16), (0, 1, 2, 2**31)):
        first = entry(tag, kind, b"\xff\xfe\0\0", count=count)
        exif = exif_bytes(SIX, first) if tag != 0x112 else exif_bytes(first)
        made = decode(encode(PIXELS, "JPEG", exif=exif), 16)
        if tag != 0x112:
            assert np.array_equal(made, expected), (hex(tag), kind, count)


@fuzz.tries(50, 1000)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_exif_of_any_entries_refuses_no_picture(tries):
    rng = np.random.default_rng(0)
    expected = decode(encode(PIXELS, "JPEG", exif=exif_bytes(SIX)), 16)
    others = np.delete(np.arange(2**16), 274)
    for _ in range(tries):
        more = [
            entry(int(tag), int(rng.integers(20)), rng.bytes(4), count=int(2 ** rng.integers(32)))
            for tag in rng.choice(others, rng.integers(1, 6))
        ]
        with fuzz.cheap():
            assert np.array_equal(decode(encode(PIXELS, "JPEG", exif=exif_bytes(SIX, *more)), 16), expected)


@pytest.mark.parametrize(
    "kind, value",
    [(2, b"6"), (3, b"\x06\0"), *((kind, b"\x06") for kind in (1, 4, 6, 7, 8, 9)), (11, struct.pack("<f", 6))],
)
def test_orientation_of_any_type(kind, value):
    expected = decode(encode(PIXELS, "JPEG", exif=exif_bytes(SIX)), 16)
    assert np.array_equal(decode(encode(PIXELS, "JPEG", exif=exif_bytes(entry(274, kind, value))), 16), expected)
    big = exif_bytes(entry(274, 3, b"\0\x06", ">"), order=">")
    assert np.array_equal(decode(encode(PIXELS, "JPEG", exif=big), 16), expected)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_exif_says_nothing():
    upright = decode(encode(PIXELS, "JPEG"), 16)
    for exif in (b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", exif_bytes(SIX)[:-10]):
        assert decode(encode(PIXELS, "JPEG", exif=exif), 16).shape == (3, 16, 16)
    assert np.array_equal(decode(encode(PIXELS, "JPEG", exif=b"Exif\0\0garbage"), 16), upright)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        SyntaxError("broken PNG file"),
        struct.error("unpack requires 4 bytes"),
        RecursionError("deep"),
        AttributeError("no such thing"),
        AssertionError(),
        NotImplementedError("compression"),
        UserWarning("Corrupt EXIF\ndata"),
        Image.DecompressionBombWarning("large"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["load", "source", "getexif"])
def test_any_exception_of_a_reader_is_that_pictures_fault(error, where, monkeypatch):
    def fail(*arguments):
        raise error

    if where == "source":
        source = fail
    else:
        source = grey(7)
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail) if where == "load" else None
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.getexif", fail) if where == "getexif" else None
    if where == "getexif":
        assert decode(source, 8).tolist() == np.full((3, 8, 8), 7).tolist()
        return
    broken = []
    assert values(
        decoded([("a.bmp", encode(np.full((3, 3), 9, np.uint8), "BMP")), ("bad\n.png", source)], 8, 1, broken=broken)
    ) == [9, 0]
    assert [row for row, _ in broken] == [1]
    with pytest.raises(UserError, match=r"^bad\\n\.png: (cannot be (decoded|opened)|has more than)[^\n]*; replace"):
        list(decoded([("bad\n.png", source)], 8, 1))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StoppedError])
def test_ctrl_c_and_signals_are_no_fault_of_a_picture(error):
    def stop():
        raise error

    with pytest.raises(error):
        decode(stop, 8)
    with pytest.raises(error):
        list(decoded([("a.png", stop)], 8, 1, broken=[]))
