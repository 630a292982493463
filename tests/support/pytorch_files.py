"""PyTorch files written without PyTorch, opcode by opcode, in the zip and the legacy form."""

import io
import json
import struct
import zipfile
from collections import OrderedDict

import numpy as np

STORAGES = {"f2": "Half", "f4": "Float", "f8": "Double", "i8": "Long", "i4": "Int", "b1": "Bool"}


class BFloat16:
    """A tensor of bfloat16: the upper halves of float32 numbers."""

    def __init__(self, array):
        bits = np.asarray(array, "<f4").view("<u4")
        self.bits = (bits >> 16).astype("<u2")


class WithMetadata(OrderedDict):
    """A state dict with the attribute _metadata, as modules save it."""


class Pickler:
    """Writes a pickle as torch.save does; arrays become tensors with storages of their own."""

    def __init__(self, legacy=False):
        self.legacy = legacy
        self.storages = {}  # key -> bytes and count

    def dumps(self, content):
        return b"\x80\x02" + self.part(content) + b"."

    def part(self, x):
        """Return the opcodes that push an object."""
        if isinstance(x, Raw):
            return x.code
        if isinstance(x, (np.ndarray, np.generic, BFloat16)):
            return self.tensor(x)
        if x is None or isinstance(x, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[x]
        if isinstance(x, int):
            return b"\x8a\x09" + x.to_bytes(9, "little", signed=True)
        if isinstance(x, float):
            return b"G" + struct.pack(">d", x)
        if isinstance(x, str):
            return text(x)
        if isinstance(x, tuple):
            return b"(" + b"".join(map(self.part, x)) + b"t"
        if isinstance(x, list):
            return b"](" + b"".join(map(self.part, x)) + b"e"
        start = b"ccollections\nOrderedDict\n)R" if isinstance(x, OrderedDict) else b"}"
        items = b"".join(self.part(key) + self.part(value) for key, value in x.items())
        build = b""
        if isinstance(x, WithMetadata):
            build = self.part({"_metadata": OrderedDict({"": {"version": 1}})}) + b"b"
        return start + b"(" + items + b"u" + build

    def tensor(self, x):
        """Return the opcodes of a tensor whose numbers lie in a storage of their own."""
        if isinstance(x, BFloat16):
            kind, data = "BFloat16", x.bits
        else:
            kind, data = STORAGES[x.dtype.str[1:]], x
        strides = tuple(np.array(data.strides) // data.itemsize)
        offset, storage = 0, data
        if isinstance(data.base, np.ndarray) and data.base.dtype == data.dtype:  # a view
            storage = data.base
            offset = (address(data) - address(storage)) // data.itemsize
        flat = np.lib.stride_tricks.as_strided(storage, (storage.size,), (storage.itemsize,))
        return rebuild(
            self.storage(kind, flat.tobytes(), storage.size),
            int(offset),
            tuple(data.shape),
            tuple(map(int, strides)),
        )

    def storage(self, kind, data, count=None, key=None):
        """Return the opcodes of a storage, and keep its bytes for the file."""
        key = str(len(self.storages)) if key is None else key
        self.storages[key] = (data, count)
        return storage_id(kind, key, count, self.legacy)


class Raw:
    """Opcodes for the place of an object."""

    def __init__(self, code):
        self.code = code


def address(array):
    return array.__array_interface__["data"][0]


def text(string):
    data = string.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def storage_id(kind, key, count, legacy=False):
    """Return the opcodes of a persistent id; `count` is an int or opcodes."""
    number = count.code if isinstance(count, Raw) else Pickler().part(count)
    parts = [text("storage"), f"ctorch\n{kind}Storage\n".encode(), text(key), text("cpu"), number]
    return b"(" + b"".join(parts) + (b"N" if legacy else b"") + b"tQ"


def rebuild(storage, offset, shape, strides):
    """Return the opcodes that call _rebuild_tensor_v2."""
    part = Pickler().part
    numbers = part(offset) + part(shape) + part(strides)
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + hooks + b"tR"


def zip_bytes(pickle, storages, *, folder="archive", members=(), byteorder=b"little", **options):
    """Return an archive as torch.save writes it; `members` are further names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr(f"{folder}/data.pkl", pickle)
        if byteorder is not None:
            archive.writestr(f"{folder}/byteorder", byteorder)
        for key, (data, _) in storages.items():
            archive.writestr(f"{folder}/data/{key}", data)
        archive.writestr(f"{folder}/version", b"3\n")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def legacy_bytes(pickle, storages, *, little_endian=True, version=1001):
    """Return a file in the form before version 1.6."""
    magic = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    dumps = Pickler().dumps
    content = magic + dumps(version) + dumps(machine) + pickle + dumps(list(storages))
    for data, count in storages.values():
        content += struct.pack("<q", count) + data
    return content


def torch_bytes(content, legacy=False, **options):
    """Return the bytes of a file with any content."""
    pickler = Pickler(legacy)
    pickle = pickler.dumps(content)
    return (legacy_bytes if legacy else zip_bytes)(pickle, pickler.storages, **options)


NAMES = {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}


def as_state_dict(layers, rename=lambda name: name):
    """Return a state dict of layers as support.keras_files.random_layers makes them.

    Kernels of depthwise convolutions, recognized by their names, get PyTorch's layout too.
    """
    tensors = OrderedDict()
    for name, arrays in layers:
        for role, array in arrays.items():
            if role == "kernel" and ("dw" in name or "depthwise" in name):
                array = array.reshape(*array.shape[:2], 1, -1)
            if role == "kernel":
                array = array.transpose({2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim]).copy()
            tensors[f"{rename(name)}.{ {**NAMES, **STATISTICS}[role] }"] = array
        if "moving_mean" in arrays:
            tensors[f"{rename(name)}.num_batches_tracked"] = np.array(3, "i8")
    return tensors


def safetensors_bytes(tensors):
    """Return the bytes of a safetensors file with PyTorch's names."""
    kinds, table, data = {"f4": "F32", "i8": "I64"}, {}, b""
    for name, array in tensors.items():
        offsets = [len(data), len(data) + array.nbytes]
        kind = kinds[array.dtype.str[1:]]
        table[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + data


LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)


def package_names(depths):
    """Return the names of the package's state dict by minidl's, written out block by block."""
    table = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head"}
    table |= {"top_bn": "_bn1", "predictions": "_fc"}
    parts = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv"}
    parts |= {"bn": "_bn1", "project_conv": "_project_conv", "project_bn": "_bn2"}
    number = 0
    for stage, depth in enumerate(depths, start=1):
        for letter in "abcdefg"[:depth]:
            for ours, theirs in parts.items():
                table[f"block{stage}{letter}_{ours}"] = f"_blocks.{number}.{theirs}"
            number += 1
    return table


def timm_names(depths):
    """Return the names of timm's state dict by minidl's."""
    table = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head"}
    table |= {"top_bn": "bn2", "predictions": "classifier"}
    first = {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
    other = {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv": "conv_dw", "bn": "bn2"}
    other |= {"project_conv": "conv_pwl", "project_bn": "bn3"}
    for stage, depth in enumerate(depths):
        for index in range(depth):
            for ours, theirs in (other if stage else first).items():
                table[f"block{stage + 1}{'abcdefg'[index]}_{ours}"] = (
                    f"blocks.{stage}.{index}.{theirs}"
                )
    return table
