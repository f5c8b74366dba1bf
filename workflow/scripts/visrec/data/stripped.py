"""Pictures without what programs write beside their pixels: text, profiles, dates, cameras, previews.

These can be damaged, of odd types, or unpack to gigabytes, and Pillow refuses an intact picture for them. What is left
out here is used by nobody: colour profiles are not applied.
"""

import struct
import zlib

JPEG = b"\xff\xd8"  # how such a file begins
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = {b"II*\0": "<", b"MM\0*": ">"}  # byte order

ORIENTATION, XMP, SHORT = 274, 700, 3
# Tags of TIFF 6.0 and its supplements that a decoder needs: sizes, strips and tiles, compression, colours.
PIXELS = {254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293, 297, 301}
PIXELS |= {317, 318, 319, 320, 321, 322, 323, 324, 325, 332, 333, 334, 336, 337, 338, 339, 340, 341, 342, 347}
PIXELS |= {512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}


def stripped(data: bytes) -> bytes:
    """A PNG, JPEG or TIFF with what makes its pixels, and where they belong, alone; other files as they are.

    Of several pictures in a file, the first is kept.
    """
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(JPEG):
        return _jpeg(data)
    return _tiff(data) if data[:4] in TIFF else data


def _jpeg(data: bytes) -> bytes:
    """Without comments and what programs wrote, but for EXIF and XMP, and colour where a decoder takes it from there.

    A segment is a marker (2 bytes), a length (2) that counts itself, and the rest; the pixels begin with the marker SOS
    (ITU-T T.81, B.1.1.4). What has fewer bytes than JFIF or Adobe give is passed over by libjpeg as well.
    """
    kept, at = [JPEG], len(JPEG)
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b""):
        if data[at + 1] == 0xFF:  # padding
            at += 1
            continue
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data) or end < at + 4:
            break
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        colour = (marker == 0xE0 and end >= at + 18) or (marker == 0xEE and end >= at + 16)
        if not application or marker == 0xE1 or colour:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _png(data: bytes) -> bytes:
    """Without chunks that may be passed over, such as text, profiles and further frames.

    A chunk has a length (4 bytes), a name (4), so many bytes and a CRC (4); one that may be passed over has a name that
    begins in lower case (PNG, third edition, 5.3).
    """
    kept, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        meant = name in (b"tRNS", b"eXIf") or data[at + 4 : at + 27] == b"iTXtXML:com.adobe.xmp\0\0"
        whole = name == b"tRNS" or zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if name[:1].isupper() or (meant and whole):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _tiff(data: bytes) -> bytes:
    """With the entries of the first directory that make the pixels, in its place, and no further directory.

    A directory has a count (2 bytes), as many entries, and where the next one is (4); an entry has a tag (2), a type
    (2), a count (4) and a value or where it is (4) (TIFF 6.0, section 2).
    """
    order = TIFF[data[:4]]
    (start,) = struct.unpack_from(f"{order}I", data, 4) if len(data) >= 8 else (0,)
    count = int.from_bytes(data[start : start + 2], "little" if order == "<" else "big")
    end = start + 2 + 12 * count
    if start < 8 or end + 4 > len(data):
        return data
    kept = []
    for at in range(start + 2, end, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, at)
        text = tag == XMP and kind in (1, 7) and number > 4
        if tag in PIXELS or text:
            kept.append(data[at : at + 12])
        value = data[at + 8 : at + 12].strip(b"\0")  # of any type: one digit or one byte
        turn = int(value) if value.isdigit() else int.from_bytes(value, "big")
        if tag == ORIENTATION and turn in range(1, 9):
            kept.append(struct.pack(f"{order}HHIHH", ORIENTATION, SHORT, 1, turn, 0))
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]
