import pickle
import tarfile

import numpy as np
import pytest
import small_archives
from small_archives import python2_pickle
from torchvision.datasets import CIFAR10
from torchvision.transforms import Compose, PILToTensor, Resize

from visrec import datasets
from visrec.datasets import cifar10
from visrec.errors import UserError

SMALL = {"train": 60, "val": 40, "test": 20}
NAME = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"


@pytest.fixture
def paths(tmp_path):
    return small_archives.cifar10(tmp_path)


class Unchecked(CIFAR10):
    """torchvision's, but for the checksums of the official files."""

    def _check_integrity(self):
        return True

    def _load_meta(self):
        pass


@pytest.mark.parametrize("size", [32, 8, 50])
def test_pixels_and_labels_are_torchvisions(paths, tmp_path, size):
    with tarfile.open(paths[NAME]) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    ours = small_archives.read("cifar10", size, paths, **SMALL)
    seen = 0
    for train, splits in ((True, ["train", "val"]), (False, ["test"])):
        resize = Compose([Resize((size, size)), PILToTensor()])
        reference = Unchecked(tmp_path / "unpacked", train, transform=resize)
        first = {f"data_batch_{number}": 20 * (number - 1) for number in range(1, 6)} | {"test_batch": 0}
        for source in (ours.splits[split] for split in splits):
            for label, (name, picture) in zip(source.labels, small_archives.images(source).items(), strict=True):
                batch, row = name.rsplit("-", 1)
                expected, number = reference[first[batch] + int(row)]
                np.testing.assert_array_equal(picture, expected.numpy())
                assert label == number
                seen += 1
    assert seen == 120
    assert ours.classes == small_archives.CIFAR_CLASSES


def test_published_checksum_is_torchvisions():
    assert cifar10.ARCHIVES[NAME]["checksum"] == f"md5:{CIFAR10.tgz_md5}"
    assert cifar10.ARCHIVES[NAME]["url"] == CIFAR10.url


def test_splits(paths):
    ours = small_archives.read("cifar10", 32, paths, **SMALL)
    assert {split: np.bincount(part.labels).tolist() for split, part in ours.splits.items()} == {
        "train": [6] * 10,
        "val": [4] * 10,
        "test": [2] * 10,
    }
    assert len({name for part in ours.splits.values() for name in part.ids}) == 120
    assert not any(name.startswith("test") for split in ("train", "val") for name in ours.splits[split].ids)
    assert ours.split_rule.startswith("60 / 40 of the official train, 20 of the official test, stratified by class")


def test_too_few_images(paths, tmp_path):
    small_archives.refused("cifar10", paths, tmp_path, "has 100 images, but the splits need 40,000 train . 10,000 val")


def changed(paths, **contents):
    members = small_archives.cifar10_members()
    members |= {f"{FOLDER}/{name.replace('__', '.')}": data for name, data in contents.items()}
    small_archives.write_tar(paths[NAME], {name: data for name, data in members.items() if data is not None})


class Touch:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_not_opened_before_its_checksum_is_right(paths, tmp_path, monkeypatch):
    expected = small_archives.checksum(paths[NAME])
    changed(paths, data_batch_1=pickle.dumps(Touch(tmp_path / "owned")))
    monkeypatch.setattr(cifar10, "_Unpickler", lambda *args, **options: pytest.fail("opened"))
    with pytest.raises(UserError, match="wrong checksum"):
        datasets.prepare("cifar10", 32, SMALL, {NAME: (paths[NAME], expected)}, 1, tmp_path / "images.h5")
    assert not (tmp_path / "images.h5").exists()
    assert not (tmp_path / "owned").exists()


def test_a_pickle_that_would_do_something_is_refused_even_with_the_right_checksum(paths, tmp_path):
    changed(paths, data_batch_1=pickle.dumps(Touch(tmp_path / "owned")))
    small_archives.refused("cifar10", paths, tmp_path, "asks for (io|_io|builtins).open, which is not data", **SMALL)
    assert not (tmp_path / "owned").exists()
    with pickle.loads(pickle.dumps(Touch(tmp_path / "owned"))):  # the plain reader would have done it
        assert (tmp_path / "owned").exists()


def nested(depth):
    """A list whose text would have 2^depth parts."""
    found = []
    for _ in range(depth):
        found = [found, found]
    return found


def batch(count=20, **changes):
    data = small_archives.pixels(count, 32, 32).reshape(count, -1)
    return python2_pickle({"data": data, "labels": [row % 10 for row in range(count)]} | changes)


@pytest.mark.parametrize(
    ("contents", "match"),
    [
        ({"data_batch_3": None}, "has no member 'cifar-10-batches-py/data_batch_3'"),
        ({"batches__meta": None}, "has no member 'cifar-10-batches-py/batches.meta'"),
        ({"data_batch_1": b""}, "data_batch_1' cannot be read"),
        ({"data_batch_1": batch()[:1000]}, "data_batch_1' cannot be read"),
        ({"data_batch_1": python2_pickle([1, 2])}, "is not a dict"),
        ({"data_batch_1": batch(data=np.zeros((20, 100), np.uint8))}, r"'data' as uint8 \(n, 3072\)"),
        ({"data_batch_1": batch(data=np.zeros((20, 3072)))}, "data_batch_1' cannot be read"),
        ({"data_batch_1": batch(data=np.zeros((20, 3072)).tolist())}, r"'data' as uint8 \(n, 3072\)"),
        ({"test_batch": batch(labels=[0] * 19)}, "test_batch must hold 'labels', a list of 20"),
        ({"test_batch": batch(labels=[0] * 19 + [10])}, "test_batch has the label 10; labels are 0 to 9"),
        ({"test_batch": batch(labels=[0] * 19 + [-1])}, "test_batch has the label -1"),
        ({"test_batch": batch(labels=[0] * 19 + [10**5000])}, "test_batch has a label that is none"),
        ({"test_batch": batch(labels=[0] * 19 + [nested(60)])}, "test_batch has a label that is none"),
        ({"test_batch": batch(labels=[row % 9 for row in range(20)])}, "class 'truck' has no image"),
        ({"batches__meta": python2_pickle({"label_names": 3})}, "no list 'label_names'"),
    ],
)
def test_another_content_is_refused(paths, tmp_path, contents, match):
    changed(paths, **contents)
    small_archives.refused("cifar10", paths, tmp_path, match, **SMALL)


DTYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


@pytest.mark.parametrize(
    ("program", "match"),
    [
        # A data type that is told it has objects, a field or another size; NumPy's own would believe it.
        (DTYPE + STATE.replace(b"K\x00tb", b"K\x3ftb"), "not of uint8"),
        (DTYPE + STATE.replace(b"NNNJ\xff\xff\xff\xff", b"NNNJ\xff\xff\xff\x7f"), "not of uint8"),
        (DTYPE.replace(b"u1", b"O8"), "another way"),
        # An array over a buffer, or of another state than its bytes; a data type that was never told what it is.
        (b"cnumpy\nndarray\n(K\x02\x85" + DTYPE + STATE + b"U\x01atR", "another way"),
        (ARRAY.replace(b"U\x01b", b"U\x01O"), "another way"),
        (ARRAY + b"(K\x01M\xff\xff\x85" + DTYPE + STATE + b"\x89U\x02abtb", "more or fewer values"),
        (ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + STATE + b"\x89U\x02abtb", "no shape"),
        (ARRAY + b"(K\x01K\x02\x85" + DTYPE + b"\x89U\x02abtb", "not of uint8"),
        (ARRAY + b"(K\x01K\x02\x85Ntb", "cannot be read"),
        # A change of what all pickles share; a class that is made without being called.
        (b"cnumpy\ndtype\nN}U\x04makeNs\x86b", "changes what it names"),
        (b"cnumpy\nndarray\n)\x81", "cannot be read"),
        # Tuples of tuples as the key of a dict, or in a set: 60 deep, to hash them would never end.
        (b"})2\x862\x86K\x01s", "the key of a dict is no text"),
        (b"}(K\x01K\x01)2\x862\x86K\x01u", "the key of a dict is no text"),
        (b"()2\x862\x86K\x01d", "the key of a dict is no text"),
        (b"()2\x862\x86\x91", "it has a set"),
        (b"\x8f()2\x862\x86\x90", "it has a set"),
        # The last place of a memo of 64 GB.
        (b"Nr\xff\xff\xff\xff", "is not a dict"),
    ],
)
def test_crafted_programs_are_one_line_and_break_nothing(paths, tmp_path, program, match):
    changed(paths, data_batch_1=b"\x80\x02" + program + b".")
    small_archives.refused("cifar10", paths, tmp_path, match, **SMALL)
    changed(paths, data_batch_1=batch())
    assert len(small_archives.read("cifar10", 32, paths, **SMALL).splits["test"].ids) == 20


def test_truncated_archives_are_refused(paths, tmp_path):
    whole = paths[NAME].read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 4):
        paths[NAME].write_bytes(whole[:length])
        small_archives.refused("cifar10", paths, tmp_path, "is not a whole tar file", **SMALL)


def test_a_link_in_the_archive_is_refused(paths, tmp_path):
    link = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(paths[NAME], "w:gz") as tar:
        tar.addfile(link)
    small_archives.refused("cifar10", paths, tmp_path, "neither a plain file nor a folder", **SMALL)
