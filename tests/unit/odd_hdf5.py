"""Ways in which a dataset of HDF5 can be something else than plain data: `odd(group, name, folder)`."""

import h5py
import numpy as np


def replace(group, name, **how):
    shape, dtype = group[name].shape, group[name].dtype
    del group[name]
    return group.create_dataset(name, shape, dtype, **how)


def external(group, name, folder):
    (folder / "other").write_bytes(b"root:x:0:0" * 100)
    replace(group, name, external=[(str(folder / "other"), 0, h5py.h5f.UNLIMITED)])


def linked(group, name, folder):
    with h5py.File(folder / "theirs.h5", "w") as file:
        file["data"] = group[name][:]
    del group[name]
    group[name] = h5py.ExternalLink(str(folder / "theirs.h5"), "data")


def soft(group, name, folder):
    group["moved"] = group[name]
    del group[name]
    group[name] = h5py.SoftLink(f"{group.name}/moved")


def virtual(group, name, folder):
    layout = h5py.VirtualLayout(group[name].shape, group[name].dtype)
    layout[:] = h5py.VirtualSource(str(folder / "theirs.h5"), "data", group[name].shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def unwritten(group, name, folder):
    replace(group, name)


def half_written(group, name, folder):
    first = group[name][:1]
    replace(group, name, chunks=(1, *group[name].shape[1:]))[:1] = first


def odd_filter(group, name, folder):
    data = np.zeros(group[name].shape, group[name].dtype)
    del group[name]
    group.create_dataset(name, data=data, scaleoffset=1)


def references(group, name, folder):
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, h5py.ref_dtype)[:] = group.ref


def compound(group, name, folder):
    shape = group[name].shape
    del group[name]
    group[name] = np.zeros(shape, [("a", "f4"), ("b", "f4")])


def missing(group, name, folder):
    del group[name]


def a_group(group, name, folder):
    del group[name]
    group.create_group(name)


def no_values(group, name, folder):
    del group[name]
    group[name] = h5py.Empty("f4")


ODD = [external, linked, soft, virtual, unwritten, half_written, odd_filter, references, compound, missing, a_group]
ODD += [no_values]
