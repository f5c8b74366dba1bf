"""How a picture is to be turned before it is looked at: its EXIF orientation."""

from PIL import Image

ORIENTATION = 0x0112  # EXIF 2.32, tag 274: where the first row and column of the file belong
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation of a picture that is loaded, 1 to 8; 1, as it is stored, where none can be read.

    No other tag is read: `ImageOps.exif_transpose` writes all of them anew, and fails for one of an odd type.
    """
    try:
        found = _in_record(picture.info.get("exif", b""))
        value = picture.getexif().get(ORIENTATION, 1) if found is None else found  # also in XMP, or of many bytes
        value = value[0] if isinstance(value, tuple) else value
        return value if value in TURNS else 1
    except Exception:  # noqa: BLE001 - EXIF that is damaged says nothing; the pixels are intact
        return 1


def _in_record(exif: bytes) -> int | None:
    """The orientation in an EXIF record (EXIF 2.32, 4.6.2), whatever the other entries hold; None: not in four bytes.

    An entry has a tag (2 bytes), a type (2), a count (4) and a value (4).
    """
    tiff = exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")  # some cameras write it twice
    order = "big" if tiff.startswith(b"MM") else "little"
    start = int.from_bytes(tiff[4:8], order)
    end = start + 2 + 12 * int.from_bytes(tiff[start : start + 2], order)
    for at in range(start + 2, min(end, len(tiff) - 11), 12):
        if int.from_bytes(tiff[at : at + 2], order) == ORIENTATION:
            value = tiff[at + 8 : at + 12].strip(b"\0")
            number = int(value) if value.isdigit() else int.from_bytes(value, order)
            return number if number in TURNS else None
    return None
