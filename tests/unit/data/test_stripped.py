"""An intact picture is read whatever stands beside its pixels, and damage of what makes them is found."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from visrec.data.pictures import PictureError, decode, thumbnail
from visrec.data.stripped import stripped

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def encode(picture, format="PNG", **options):
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, format, **options)
    return file.getvalue()


JPEG = encode(PIXELS, "JPEG")


def chunk(name, content, damage=0):
    return len(content).to_bytes(4, "big") + name + content + (zlib.crc32(name + content) ^ damage).to_bytes(4, "big")


@pytest.mark.parametrize(
    "more",
    [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**24))),
        chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**24))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**24))),
        chunk(b"tEXt", b"x\0" + bytes(2**20)) * 70,
        chunk(b"tEXt", b"abc", damage=1),
        chunk(b"eXIf", b"II*\0", damage=1),
        chunk(b"gAMA", b"?") + chunk(b"pHYs", b"?") + chunk(b"cHRM", b"") + chunk(b"acTL", b"??") + chunk(b"iCCP", b""),
    ],
    ids=["profile", "packed text", "packed XMP", "64 MB of text", "damaged text", "damaged EXIF", "short"],
)
def test_what_is_written_beside_a_pngs_pixels_refuses_no_picture(more):
    data = encode(PIXELS)
    with_more = data[:33] + more + data[33:]
    assert np.array_equal(decode(with_more, 16), decode(data, 16))
    assert thumbnail(with_more, 100).size == thumbnail(data, 100).size


def test_damage_of_a_pngs_own_chunks_is_found():
    data = bytearray(encode(PIXELS))
    data[-30] ^= 1
    with pytest.raises(PictureError, match="cannot be decoded"):
        decode(bytes(data), 16)
    see_through = encode(Image.fromarray(PIXELS), transparency=(0, 0, 0))
    damaged = bytearray(see_through)
    damaged[see_through.index(b"tRNS") + 4] ^= 1
    with pytest.raises(PictureError):
        decode(bytes(damaged), 16)


def test_orientation_in_the_xmp_of_a_png():
    lying = Image.fromarray(PIXELS).transpose(Image.Transpose.ROTATE_90)
    data = encode(lying)
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta tiff:Orientation="6"/>')
    assert np.array_equal(decode(data[:33] + xmp + data[33:], 16), decode(encode(PIXELS), 16))


@pytest.mark.parametrize(
    "more",
    [
        b"\xff\xe0\0\x09JFIF\0\1\1",
        b"\xff\xe2\0\x10ICC_PROFILE\0\xff\1",
        b"\xff\xe2\0\x0aMPF\0MM\0*",
        b"\xff\xed\0\x17Photoshop 3.0\0008BIM\4\4\0",
        b"\xff\xee\0\x08Adobe\0",
        b"\xff\xfe\0\x02\xff\xff\xff\xfe\0\x04\xff\xd8",
    ],
    ids=["short JFIF", "part of a profile", "part of an index", "odd Photoshop", "short Adobe", "comments"],
)
def test_what_is_written_beside_a_jpegs_pixels_refuses_no_picture(more):
    with_more = JPEG[:20] + more + JPEG[20:]
    assert np.array_equal(decode(with_more, 16), decode(JPEG, 16))
    assert decode(JPEG[:2] + more + JPEG[2:], 16).shape == (3, 16, 16)


def test_a_jpeg_of_four_colours_is_still_one():
    """What Adobe's segment says of them is needed: without it they would be inverted."""
    for mode in ("CMYK", "RGB", "L"):
        data = encode(Image.fromarray(PIXELS).convert(mode), "JPEG", quality=95)
        with Image.open(io.BytesIO(data)) as picture:
            plain = np.asarray(picture.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.array_equal(decode(data, 16), plain)


def with_entry(tiff, tag, kind, count, value):
    """A little-endian TIFF with one more entry, in a new directory at its end."""
    (start,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, start)
    found = [tiff[at : at + 12] for at in range(start + 2, start + 2 + 12 * entries, 12)]
    found = sorted([*found, struct.pack("<HHI4s", tag, kind, count, value)], key=lambda entry: entry[1::-1])
    return (
        tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + struct.pack("<H", len(found)) + b"".join(found) + bytes(4)
    )


@pytest.mark.parametrize("tag", [271, 272, 305, 306, 315, 700, 33723, 34377, 34665, 34675, 34853, 65000])
@pytest.mark.parametrize("kind", [0, 1, 2, 4, 5, 11, 12, 13, 99])
def test_a_tag_of_any_type_refuses_no_tiff(tag, kind):
    """Camera, program, dates, XMP, EXIF, GPS and the like; Pillow would not open the first as a float."""
    plain = encode(PIXELS, "TIFF")
    for count in (0, 1, 4):
        odd = with_entry(plain, tag, kind, count, b"\xff\xfe\x07\x01")
        assert np.array_equal(decode(odd, 16), decode(plain, 16))


@pytest.mark.parametrize("kind, value", [(3, b"\6"), (4, b"\6"), (2, b"6"), (7, b"\6"), (1, b"\6")])
def test_a_tiff_is_turned_whatever_the_type_of_its_orientation(kind, value):
    lying = encode(Image.fromarray(PIXELS).transpose(Image.Transpose.ROTATE_90), "TIFF")
    turned = with_entry(lying, 274, kind, 1, value)
    assert np.array_equal(decode(turned, 16), decode(encode(PIXELS, "TIFF"), 16))
    for none in (b"\0", b"\x09", b"\xff\xff"):
        assert np.array_equal(decode(with_entry(lying, 274, kind, 1, none), 16), decode(lying, 16))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"])
def test_a_tiff_of_every_packing_keeps_its_pixels(compression):
    for mode in ("1",) if compression == "group4" else ("L", "RGB") if compression == "jpeg" else ("RGBA", "P", "CMYK"):
        pages = [Image.fromarray(PIXELS).convert(mode), Image.fromarray(255 - PIXELS).convert(mode)]
        data = encode(pages[0], "TIFF", compression=compression, save_all=True, append_images=pages[1:])
        with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(stripped(data))) as alone:
            assert (whole.mode, whole.size, np.asarray(whole).tolist()) == (
                alone.mode,
                alone.size,
                np.asarray(alone).tolist(),
            )
            assert alone.n_frames == 1


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"\xff\xd8\xff", JPEG[:20]]
)
def test_what_is_cut_off_stays_what_it_is(data):
    assert stripped(data) == data
