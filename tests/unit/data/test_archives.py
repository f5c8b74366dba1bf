import gzip
import io
import stat
import struct
import tarfile
import zipfile

import pytest
import small_archives

from visrec.data.archives import Limits, mismatch, open_zip, read_tar, verify
from visrec.errors import UserError


def refused(call, *args, match, **options):
    """A `UserError` of one line."""
    with pytest.raises(UserError, match=match) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)


def names_of(path, **limits):
    with open_zip(path, Limits(**limits)) as archive:
        return archive.names


# Checksums


def test_verify_accepts_what_is_right(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    verify(path, "md5:900150983cd24fb0d6963f7d28e17f72")  # RFC 1321, appendix A.5
    verify(path, "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")  # FIPS 180-2, appendix B.1
    assert mismatch(path, "md5:900150983cd24fb0d6963f7d28e17f72") == ""


def test_verify_names_both_checksums(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abd")
    refused(
        verify,
        path,
        "md5:900150983cd24fb0d6963f7d28e17f72",
        match="file: has the wrong checksum: expected md5:900150983cd24fb0d6963f7d28e17f72, "
        "got md5:4911e516e5aa21d327512e0c8b197616; .*archives:",
    )


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><title>Sign in</title>",
        b"\n <HTML><head>",
        b"\xef\xbb\xbf<!doctype html>",
        b'<?xml version="1.0"?>\n<!-- made by x -->\n<!DOCTYPE html PUBLIC>',
    ],
)
def test_a_page_saved_as_an_archive_is_called_that(tmp_path, page):
    path = tmp_path / "x.zip"
    path.write_bytes(page)
    refused(verify, path, f"md5:{'0' * 32}", match="x.zip: is an HTML page .*expected md5:0+, got md5:")


def test_an_archive_that_holds_a_page_is_not_called_one(tmp_path):
    path = small_archives.write_zip(tmp_path / "x.zip", {"index": b"<html><body>"}, zipfile.ZIP_STORED)
    refused(verify, path, f"md5:{'0' * 32}", match="x.zip: has the wrong checksum")


def test_an_empty_and_a_missing_file(tmp_path):
    path = tmp_path / "x.zip"
    refused(verify, path, f"md5:{'0' * 32}", match="x.zip: cannot be read .No such file.*archives:")
    refused(verify, tmp_path, f"md5:{'0' * 32}", match="cannot be read .Is a directory")
    path.write_bytes(b"")
    refused(verify, path, f"md5:{'0' * 32}", match="x.zip: is empty")


@pytest.mark.parametrize("checksum", ["", "md5", "md5:12", f"md5:{'g' * 32}", f"sha1:{'0' * 40}", f"sha256:{'0' * 32}"])
def test_a_checksum_that_is_none(tmp_path, checksum):
    refused(verify, tmp_path / "x", checksum, match="must be md5: and 32 or sha256: and 64")


# Zip


def test_zip_gives_names_in_order_and_bytes(tmp_path):
    path = small_archives.write_zip(tmp_path / "x.zip", {"b/2.txt": b"two", "a/1.txt": b"one"})
    with open_zip(path) as archive:
        assert archive.names == ["b/2.txt", "a/1.txt"]
        assert archive.read("a/1.txt") == b"one"


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "a\\b", "..\\x", "C:/x", "c:x", "a\nb", "a/..", "bell\a"]
)
def test_zip_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"x")
    refused(names_of, path, match="refused: member .* has an unsafe name")


def test_a_zip_name_with_a_null_byte_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt_", b"x")
    path.write_bytes(path.read_bytes().replace(b"a.txt_", b"a.txt\0"))
    refused(names_of, path, match="unsafe name")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_zip_links_and_devices_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(info, b"/etc/passwd")
    refused(names_of, tmp_path / "x.zip", match="'link' is a link or a device")


def test_a_zip_with_one_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a", b"1")
        file.writestr("a", b"2")
    refused(names_of, tmp_path / "x.zip", match="'a' occurs more than once")


def test_zip_limits(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(3):
            file.writestr(str(number), bytes(100))
    assert names_of(path, members=3, member_bytes=100, total_bytes=300) == ["0", "1", "2"]
    refused(names_of, path, members=2, match="more than 2 members")
    refused(names_of, path, member_bytes=99, match="'0' has 100 bytes, more than 99")
    refused(names_of, path, total_bytes=299, match="unpacks to more than 299 bytes")


def test_a_zip_bomb_is_refused_by_its_ratio(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(20 * 2**20))
    refused(names_of, path, match="more than 100 times its size")
    assert names_of(path, ratio=2000) == ["zeros"]


def test_a_zip_whose_members_overlap_is_refused(tmp_path):
    """Two entries of the index share one block of packed data."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("kernel", bytes(range(256)) * 400)
        first = file.infolist()[0]
        file.filelist.append(copy := zipfile.ZipInfo("copy"))
        for name in ("header_offset", "file_size", "compress_size", "CRC", "compress_type"):
            setattr(copy, name, getattr(first, name))
        file._didModify = True
    refused(names_of, path, match="members overlap")


def test_an_encrypted_or_oddly_packed_zip_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a", b"1")
    refused(names_of, path, match="'a' is not packed by deflate")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    refused(names_of, path, match="'a' is encrypted")


def test_damaged_zips(tmp_path):
    path = small_archives.write_zip(tmp_path / "x.zip", {"a": bytes(range(256)) * 40}, zipfile.ZIP_STORED)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(names_of, path, match="x.zip: is not a whole zip file")
    path.write_bytes(b"<html>error</html>")
    refused(names_of, path, match="is not a whole zip file")
    path.write_bytes(whole[:2000] + b"!" + whole[2001:])
    with open_zip(path) as archive:
        refused(archive.read, "a", match="not a whole zip file .Bad CRC-32")


# Tar


def tar_of(path, *members, packed=True):
    with tarfile.open(path, "w:gz" if packed else "w") as tar:
        for info, data in members:
            info.size = len(data) if data is not None else 0
            tar.addfile(info, io.BytesIO(data or b""))
    return path


@pytest.mark.parametrize("packed", [True, False])
def test_tar_gives_what_is_wanted(tmp_path, packed):
    members = [(tarfile.TarInfo(name), name.encode() * 1000) for name in ("d/a", "d/b", "d/c")]
    path = tar_of(tmp_path / "x", *members, packed=packed)
    assert read_tar(path, ["d/a", "d/c", "d/x"]) == {"d/a": b"d/a" * 1000, "d/c": b"d/c" * 1000}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\b"])
def test_tar_names_that_lead_elsewhere_are_refused(tmp_path, name):
    path = tar_of(tmp_path / "x.tar.gz", (tarfile.TarInfo("fine"), b"1"), (tarfile.TarInfo(name), b"x"))
    refused(read_tar, path, ["fine"], match="has an unsafe name")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_tar_links_and_devices_are_refused(tmp_path, kind):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = kind, "/etc/passwd"
    path = tar_of(tmp_path / "x.tar.gz", (tarfile.TarInfo("fine"), b"1"), (link, None))
    refused(read_tar, path, ["fine"], match="'link' is neither a plain file nor a folder")


def test_tar_limits(tmp_path):
    path = tar_of(tmp_path / "x.tar.gz", *[(tarfile.TarInfo(str(number)), bytes(1000)) for number in range(3)])
    refused(read_tar, path, [], Limits(members=2), match="more than 2 members")
    refused(read_tar, path, [], Limits(member_bytes=999), match="'0' has 1,000 bytes")
    refused(read_tar, path, [], Limits(total_bytes=2999), match="unpacks to more than 2,999 bytes")


def test_a_tar_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "x.tar.gz"
    bomb = tarfile.TarInfo("zeros")
    bomb.size = 2**40  # only the header is there: what it declares is enough
    path.write_bytes(gzip.compress(bomb.tobuf() + bytes(1000)))
    refused(read_tar, path, ["zeros"], match="'zeros' has 1,099,511,627,776 bytes")
    refused(read_tar, path, [], Limits(member_bytes=2**41, total_bytes=2**42), match="more than 100 times its size")
    path.write_bytes(gzip.compress(bytes(20 * 2**20)))  # no members, but zeros without end
    refused(read_tar, path, [], match="more than 100 times its size")


def test_a_tar_header_that_is_a_bomb_is_refused(tmp_path):
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, 8 * 2**20
    path = tmp_path / "x.tar"
    path.write_bytes(header.tobuf() + bytes(8 * 2**20))
    refused(read_tar, path, [], match="header of more than 1,048,576 bytes")


def test_a_member_larger_than_a_header_is_read(tmp_path):
    path = tar_of(tmp_path / "x.tar", *[(tarfile.TarInfo(name), bytes(3 * 2**20)) for name in "ab"], packed=False)
    assert {name: len(data) for name, data in read_tar(path, "b").items()} == {"b": 3 * 2**20}


def test_damaged_tars(tmp_path):
    path = small_archives.write_tar(tmp_path / "x.tar.gz", {"a": bytes(range(256)) * 400, "b": b"x" * 3000})
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(read_tar, path, ["a"], match="x.tar.gz: is not a whole tar file")
    path.write_bytes(whole[:-8] + struct.pack("<II", 1, 1))  # gzip's checksum and length at its end
    refused(read_tar, path, ["a"], match="x.tar.gz: is not a whole tar file")
    path.write_bytes(b"<html>error</html>" * 100)
    refused(read_tar, path, ["a"], match="x.tar.gz: is not a whole tar file")


def test_nothing_is_ever_written(tmp_path):
    path = small_archives.write_zip(tmp_path / "x.zip", {"a/b": b"1"})
    names_of(path)
    read_tar(small_archives.write_tar(tmp_path / "x.tar.gz", {"c/d": b"1"}), ["c/d"])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.tar.gz", "x.zip"]
