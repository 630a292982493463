"""Model files: written whole or not at all, and never half read, whatever happened to them."""

import hashlib
import os
import stat
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.hostile_hdf5 import HOSTILE, never_written
from support.tiny import assert_same_arrays, blobs, classifier, refused

import minidl
from minidl import Input, Sequential, callbacks, layers
from minidl.common.errors import FileFormatError
from minidl.formats import checkpoint
from minidl.formats.checkpoint import pack, read_checkpoint, unpack, write_checkpoint

X, Y = blobs()


@pytest.fixture(scope="module")
def trained():
    """A model in the middle of its training, with all that a file can hold."""
    model = classifier(layers.BatchNormalization())
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    stop = callbacks.EarlyStopping("loss", restore_best_weights=True)
    model.fit(X, Y, epochs=2, callbacks=[stop], verbose=0)
    model.metadata["class_names"] = ["cat", "dog"]
    return model


@pytest.fixture(scope="module")
def content(trained, tmp_path_factory):
    """The bytes of its file."""
    path = tmp_path_factory.mktemp("file") / "model.h5"
    trained.save(path)
    return path.read_bytes()


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# What goes in comes out

ARRAYS = st.dictionaries(
    st.from_regex(r"[a-z_0-9]{1,8}(/[a-z_0-9.]{1,8}[a-z]){0,2}", fullmatch=True),
    st.tuples(
        st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
        st.lists(st.integers(0, 4), max_size=3),
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(kinds=ARRAYS, document=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_documents_and_arrays_come_back(tmp_path_factory, kinds, document):
    names = [name for name in kinds if not any(n.startswith(f"{name}/") for n in kinds)]
    rng = np.random.default_rng(0)
    arrays = {n: (rng.normal(size=kinds[n][1]) * 9).astype(kinds[n][0]) for n in names}
    path = tmp_path_factory.mktemp("trip") / "a.h5"
    write_checkpoint(path, document, arrays)
    document_again, arrays_again = read_checkpoint(path)
    assert repr(document_again) == repr(document)  # NaN is not equal to itself
    assert arrays_again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(arrays_again[name], array, strict=True)


def test_pack_moves_arrays_out_of_nested_values():
    value = {"a": [1, {"b": np.arange(3)}], "c": (np.float32(0.5), None), "d": np.ones((2, 0))}
    arrays = {}
    packed = pack(value, arrays, "state")
    assert sorted(arrays) == ["state/a/1/b", "state/d"]
    back = unpack(packed, arrays)
    assert_same_arrays([back["a"][1]["b"], back["d"]], [np.arange(3), np.ones((2, 0))])
    assert back["c"] == [0.5, None]


def test_a_file_is_hdf5_that_other_programs_can_read(trained, content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    with h5py.File(tmp_path / "a.h5") as file:
        kernel = file["arrays/weights/dense/kernel"][()]
    assert_same_arrays([kernel], trained.get_weights()[:1])


# Weights alone


def test_weights_alone(trained, tmp_path):
    trained.save_weights(tmp_path / "w.h5")
    other = classifier(layers.BatchNormalization())
    other.load_weights(tmp_path / "w.h5")
    assert_same_arrays(other.get_weights(), trained.get_weights())
    assert_same_arrays([other.predict(X)], [trained.predict(X)])
    with refused(FileFormatError, "w.h5", "without an architecture", "load_weights"):
        minidl.load_model(tmp_path / "w.h5")


def test_weights_of_a_whole_model_file(trained, content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    other = classifier(layers.BatchNormalization())
    other.load_weights(tmp_path / "a.h5")
    assert_same_arrays(other.get_weights(), trained.get_weights())


def test_weights_of_another_type_are_converted(trained, tmp_path):
    trained.save_weights(tmp_path / "w.h5")
    other = classifier(layers.BatchNormalization(), dtype="float64")
    other.load_weights(tmp_path / "w.h5")
    expected = [array.astype(np.float64) for array in trained.get_weights()]
    assert_same_arrays(other.get_weights(), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: classifier(layers.BatchNormalization(), outputs=3),
            ["dense_1", "kernel", "(6, 3)"],
        ),
        (lambda: classifier(), ["unexpected layers", "batch_normalization"]),
        (
            lambda: classifier(layers.BatchNormalization(), layers.Dense(6)),
            ["3 dense layers", "received 2"],
        ),
        (
            lambda: Sequential([Input((4,)), layers.Dense(2, name="mine")]),
            ["missing tensors for mine", "kernel", "unexpected layers", "dense_1"],
        ),
    ],
    ids=["shape", "surplus", "missing", "names"],
)
def test_weights_of_another_model_are_refused_by_name(trained, tmp_path, make, words):
    trained.save_weights(tmp_path / "w.h5")
    other = make()
    before = other.get_weights()
    with refused(FileFormatError, "w.h5", *words):
        other.load_weights(tmp_path / "w.h5")
    assert_same_arrays(other.get_weights(), before)


def test_weights_with_nan_are_refused(tmp_path):
    model = classifier()
    model.layers[1].set_weights([np.full((6, 1), np.nan), np.zeros(1)])
    model.save_weights(tmp_path / "w.h5")
    other = classifier()
    before = other.get_weights()
    with refused(FileFormatError, "dense_1/kernel", "NaN"):
        other.load_weights(tmp_path / "w.h5")
    assert_same_arrays(other.get_weights(), before)


# A file to deploy


def test_a_file_without_optimizer(trained, content, tmp_path):
    trained.save(tmp_path / "small.h5", include_optimizer=False)
    _, arrays = read_checkpoint(tmp_path / "small.h5")
    assert {name.split("/")[0] for name in arrays} == {"weights"}
    assert (tmp_path / "small.h5").stat().st_size < len(content)
    model = minidl.load_model(tmp_path / "small.h5")
    assert_same_arrays([model.predict(X)], [trained.predict(X)])
    assert model.metadata == trained.metadata
    assert model.training_state == {}
    with refused(RuntimeError, "compile"):
        model.fit(X, Y)
    model.compile("adam", "binary_crossentropy")
    assert len(model.fit(X, Y, verbose=0).epoch) == 1


def test_weights_rounded_to_half_precision(trained, tmp_path):
    trained.save(tmp_path / "half.h5", dtype="float16")
    loaded = minidl.load_model(tmp_path / "half.h5")
    rounded = [p.value.astype(np.float16).astype(np.float32) for p in trained.weights]
    assert_same_arrays(loaded.get_weights(), rounded)
    assert loaded.optimizer.iterations == trained.optimizer.iterations


def test_a_weight_too_large_for_half_precision_is_named_and_nothing_is_written(tmp_path):
    model = Sequential([Input((2,)), layers.Dense(1, name="fc")])
    model.save(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    model.set_weights([np.array([[1e5], [1]]), np.zeros(1)])
    with refused(ValueError, "fc/kernel", "1e+05", "float16"):
        model.save(tmp_path / "a.h5", dtype="float16")
    with refused(ValueError, "float16", "int8"):
        model.save(tmp_path / "a.h5", dtype="int8")
    assert (tmp_path / "a.h5").read_bytes() == before


def test_metadata_may_hold_arrays(tmp_path):
    model = Sequential([Input((2,)), layers.Dense(1)])
    model.metadata["facts"] = {"mean": np.arange(3, dtype=np.float32), "n": 3, "of": ["a"]}
    model.save(tmp_path / "a.h5")
    facts = minidl.load_model(tmp_path / "a.h5").metadata["facts"]
    np.testing.assert_array_equal(facts.pop("mean"), np.arange(3, dtype=np.float32), strict=True)
    assert facts == {"n": 3, "of": ["a"]}


def test_two_parameters_of_one_name_are_refused(tmp_path):
    class Twice(layers.Layer):
        def build(self, input_shape):
            self.add_weight("scale", (1,), "ones")
            self.add_weight("scale", (1,), "zeros")

        def forward(self, x, training=False, rng=None):
            return x, None

    model = Sequential([Input((4,)), Twice(name="twice")])
    for save in (model.save, model.save_weights):
        with refused(ValueError, "different paths", "twice/scale"):
            save(tmp_path / "a.h5")
    assert files(tmp_path) == []


# What is no model file


@pytest.mark.parametrize("read", ["load_model", "load_weights"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello\n", "not a minidl model file"),
        (b"", "empty"),
        (bytes(5000), "not a minidl model file"),
        (b"\x89PNG\r\n\x1a\n", "not a minidl model file"),
        (b'{"kind": "model"}', "JSON"),
        (None, "layer_names"),
    ],
    ids=["text", "empty", "zeros", "image", "json", "hdf5"],
)
def test_another_kind_of_file_is_refused(read, content, words, tmp_path):
    path = tmp_path / "file.h5"
    if content is None:  # nearly what Keras writes
        with h5py.File(path, "w") as file:
            file["model_weights/dense/kernel"] = np.ones((4, 6))
    else:
        path.write_bytes(content)
    model = classifier()
    before = model.get_weights()
    with refused(FileFormatError, str(path), words):
        minidl.load_model(path) if read == "load_model" else model.load_weights(path)
    assert_same_arrays(model.get_weights(), before)


def test_a_missing_file_and_a_folder(tmp_path):
    for read in (minidl.load_model, classifier().load_weights):
        with refused(FileNotFoundError, "nowhere.h5", "no such file"):
            read(tmp_path / "nowhere.h5")
        with refused(IsADirectoryError, str(tmp_path), "folder"):
            read(tmp_path)


def test_a_file_of_a_newer_minidl(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    write_checkpoint(tmp_path / "new.h5", {}, {})
    monkeypatch.undo()
    with refused(FileFormatError, "new.h5", "newer", "2", "update"):
        read_checkpoint(tmp_path / "new.h5")


# Damage


@st.composite
def damages(draw):
    """Return a function that damages bytes."""
    kind = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "remove", "swap", "append"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
    bit, junk = draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=64))

    def damage(content: bytes) -> bytes:
        data = bytearray(content)
        start, stop = sorted(int(place * len(data)) for place in places)
        if kind == "cut":
            del data[start:]
        elif kind == "flip":
            data[start] ^= 1 << bit
        elif kind == "overwrite":
            data[start : start + len(junk)] = junk
        elif kind == "insert":
            data[start:start] = junk
        elif kind == "remove":
            del data[start:stop]
        elif kind == "swap":
            data[start : start + 512], data[stop : stop + 512] = (
                data[stop : stop + 512],
                data[start : start + 512],
            )
        elif kind == "append":
            data += junk
        return bytes(data)

    return damage


@thorough
@given(damage=damages())
def test_a_damaged_file_is_refused_or_says_the_same(trained, content, tmp_path_factory, damage):
    damaged = damage(content)
    path = tmp_path_factory.mktemp("damage") / "model.h5"
    path.write_bytes(damaged)
    other = classifier(layers.BatchNormalization())
    before = other.get_weights()
    complaint = None
    try:
        model = minidl.load_model(path)
        other.load_weights(path)
    except FileFormatError as error:
        complaint = str(error)
    if complaint is not None:
        assert damaged != content
        assert "\n" not in complaint
        assert_same_arrays(other.get_weights(), before)  # not half of it
    else:
        assert_same_arrays(model.get_weights(), trained.get_weights())
        assert_same_arrays(other.get_weights(), trained.get_weights())
        assert model.get_config() == trained.get_config()
        assert model.metadata == trained.metadata


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75, 0.999])
def test_a_file_cut_off_anywhere(content, tmp_path, part):
    path = tmp_path / "model.h5"
    path.write_bytes(content[: int(part * len(content))])
    with refused(FileFormatError, str(path)):
        minidl.load_model(path)


def test_every_single_bit_of_the_seal_matters(content, tmp_path):
    path = tmp_path / "model.h5"
    for position in range(0, 160, 3):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError):
            read_checkpoint(path)


# Writing


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("minidl.common.atomic_files.os.replace", OSError("no space left")),
        ("minidl.common.atomic_files.os.fsync", OSError("device gone")),
        ("h5py.Group.create_dataset", MemoryError("no memory")),
        ("h5py.Group.create_dataset", KeyboardInterrupt()),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_while_writing_leaves_the_old_file_and_no_other(
    trained, content, tmp_path, monkeypatch, where, error, exists
):
    path = tmp_path / "model.h5"
    if exists:
        path.write_bytes(content)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)):
        trained.save(path)
    monkeypatch.undo()
    assert files(tmp_path) == (["model.h5"] if exists else [])
    if exists:
        assert path.read_bytes() == content


def test_a_process_that_dies_while_writing_leaves_the_old_file(content, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    code = (
        "import os, sys, numpy as np\n"
        "from minidl.formats import checkpoint\n"
        "os.fsync = lambda file: os._exit(7)\n"
        "checkpoint.write_checkpoint(sys.argv[1], {}, {'a': np.ones(9)})\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == 7
    assert path.read_bytes() == content


def sealed_anew(path, change):
    """Change a file as an attacker can, who computes the checksum of the result."""
    with h5py.File(path, "r+") as file:
        change(file)
    data = bytearray(path.read_bytes())
    digest = hashlib.blake2b(data[checkpoint.SEAL_SIZE :]).hexdigest().encode()
    data[: checkpoint.SEAL_SIZE] = (checkpoint.MARK + digest).ljust(checkpoint.SEAL_SIZE, b"\0")
    path.write_bytes(data)


@pytest.mark.parametrize("how", HOSTILE)
def test_a_strangers_file_with_a_valid_checksum_reads_and_claims_nothing(content, tmp_path, how):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    change, word = HOSTILE[how]
    sealed_anew(path, lambda file: change(file["arrays"]))
    with refused(FileFormatError, "model.h5", word):
        minidl.load_model(path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (never_written, "incomplete"),
        (lambda group: group.__setitem__("x", "text"), "expected numbers"),
        (lambda group: group.__setitem__("x", np.ones(2, complex)), "expected numbers"),
    ],
)
def test_arrays_that_minidl_never_writes_are_refused(content, tmp_path, change, word):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    sealed_anew(path, lambda file: change(file["arrays"]))
    with refused(FileFormatError, "model.h5", "'x'", word):
        minidl.load_model(path)


@pytest.mark.parametrize("document", [np.ones(2), ["a", "b"], "[1]", b"{"])
def test_a_document_of_another_kind_is_refused(content, tmp_path, document):
    path = tmp_path / "model.h5"
    path.write_bytes(content)

    def change(file):
        del file["document"]
        file["document"] = document

    sealed_anew(path, change)
    with refused(FileFormatError, "model.h5"):
        minidl.load_model(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit of the file size")
def test_a_full_disk_at_every_size_is_an_error_and_not_a_crash(content, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    code = (
        "import resource, sys, minidl\n"
        "model = minidl.load_model(sys.argv[1])\n"
        "for limit in range(0, int(sys.argv[2]), int(sys.argv[2]) // 100):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        model.save(sys.argv[1])\n"
        "    except OSError as error:\n"
        "        print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(path), str(len(content))],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = process.stdout.splitlines()
    assert len(lines) >= 100
    assert all("disk is full" in line for line in lines)
    assert files(tmp_path) == ["model.h5"]
    assert path.read_bytes() == content


def test_saving_again_replaces_the_file(trained, tmp_path):
    path = tmp_path / "model.h5"
    classifier().save(path)
    trained.save(path)
    assert files(tmp_path) == ["model.h5"]
    assert_same_arrays(minidl.load_model(path).get_weights(), trained.get_weights())


def test_where_no_file_can_be_written(trained, tmp_path):
    with refused(FileNotFoundError, "a.h5", "does not exist", "nowhere"):
        trained.save(tmp_path / "nowhere" / "a.h5")
    with refused(IsADirectoryError, str(tmp_path), "folder"):
        trained.save(tmp_path)
    (tmp_path / "file").write_text("")
    with refused(OSError, "a.h5", "does not exist"):
        trained.save(tmp_path / "file" / "a.h5")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_folder_without_permission_is_named(trained, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # root may write everywhere, but not here:
        locked = "/proc" if os.path.isdir("/proc") else pytest.skip("the user may do everything")
    with refused(OSError, f"{locked}/a.h5", "cannot be written"):
        trained.save(f"{locked}/a.h5")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_file_has_the_usual_permissions(trained, tmp_path):
    before = os.umask(0o027)
    try:
        trained.save(tmp_path / "a.h5")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.h5").stat().st_mode) == 0o640


def test_saving_leaves_the_umask_of_the_whole_process_alone(trained, tmp_path, monkeypatch):
    def touched(mask):
        raise AssertionError("other threads would write files that all may change")

    monkeypatch.setattr(os, "umask", touched)
    trained.save(tmp_path / "a.h5")


def test_a_document_that_lacks_a_part_is_refused_in_one_sentence(tmp_path):
    model = Sequential([Input((2,)), layers.Dense(1)])
    document, arrays = model.checkpoint()
    del document["architecture"]["nodes"]
    write_checkpoint(tmp_path / "a.h5", document, arrays)
    with pytest.raises(FileFormatError, match="missing entry 'nodes'; another version of minidl"):
        minidl.load_model(tmp_path / "a.h5")
