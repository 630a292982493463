"""HDF5 structures that no weight file needs: links, foreign storage, absurd sizes.

`HOSTILE` has for each a function that adds it to an open file, and a word of the error message.
"""

import h5py
import numpy as np


def link_to_parent(file):
    file.create_group("a/b")
    file["a/b/c"] = file["a"]


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    file.create_virtual_dataset("x", layout)


def never_written(file):
    file.create_dataset("x", (4, 4), "f4")


def half_written(file):
    file.create_dataset("x", (8,), "f4", chunks=(4,))[:4] = 1


def huge(file):
    file.create_dataset("x", (2**40,), "f4", chunks=(1024,))


def huge_chunk(file):
    file.create_dataset("x", (4,), "f4", maxshape=(None,), chunks=(2**26,))


def many_large(file):
    for i in range(300):
        file.create_dataset(f"x{i}", (15 * 2**20,), "f4", chunks=(1024,))


def deep(file):
    file.create_group("/".join("d" * 40))


HOSTILE = {
    "external link": (lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "link"),
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/")), "link"),
    "soft link deep inside": (lambda f: f.__setitem__("a/b/x", h5py.SoftLink("/")), "a/b/x"),
    "cycle": (link_to_parent, "second name"),
    "root in itself": (lambda f: f.__setitem__("x", f["/"]), "second name"),
    "two names": (
        lambda f: (f.__setitem__("x", np.ones(2)), f.__setitem__("y", f["x"])),
        "second name",
    ),
    "virtual": (virtual, "another file"),
    "external storage": (
        lambda f: f.create_dataset("x", (3,), "f4", external=[("/etc/passwd", 0, 12)]),
        "another file",
    ),
    "huge": (huge, "too large"),
    "huge chunk": (huge_chunk, "too large"),
    "many large": (many_large, "more than"),
    "deep": (deep, "too deeply"),
    "named type": (lambda f: f.__setitem__("x", np.dtype("f4")), "neither"),
    "unknown filter": (
        lambda f: f.create_dataset("x", data=np.ones(9), compression="lzf"),
        "filter",
    ),
}
