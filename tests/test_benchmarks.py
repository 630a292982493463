"""Benchmark scripts: each runs on tiny sizes and writes a complete report.

Peers are tested if this environment contains them, or that of the interpreter in the environment
variable MINIDL_PEER_PYTHON.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PEER_PYTHON = os.environ.get("MINIDL_PEER_PYTHON", sys.executable)
COMPARISONS = {
    "networks": ["--networks", "VGG16", "--batches", "2"],
    "training": ["--networks", "small_cnn"],
    "transfer": ["--work", "features", "transfer"],
}


def run(script, *arguments):
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def measure(folder, script, *arguments):
    """Run a benchmark on tiny sizes; return its output, its JSON and the path of the JSON."""
    path = Path(folder, f"{script}.json")
    done = run(script, "--smoke", "--threads", 1, "--json", path, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text()), path


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture(scope="module", params=COMPARISONS)
def comparison(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    arguments = COMPARISONS[request.param]
    return measure(folder, request.param, "--peers", "none", "--markdown", *arguments)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    arguments = ("--networks", "ResNet50", "--batch-size", 1, "--peers", "none")
    return measure(tmp_path_factory.mktemp("kernels"), "conv_kernels", *arguments)


def test_a_comparison_reports_times_memory_and_the_machine(comparison):
    _, document, _ = comparison
    assert document["machine"]["threads"] == 1
    assert {"minidl", "numpy", "blas"} <= set(document["machine"]["versions"])
    assert document["cases"]
    for case in document["cases"]:
        (result,) = case["results"]
        assert result["engine"] == "minidl"
        assert 0 < result["min"] <= result["median"] <= result["max"]
        assert len(result["milliseconds"]) >= 1
        assert result["peak_mib"] >= result["imported_mib"] > 10
        assert case["ratio"] is None


def test_a_comparison_prints_one_table_per_case(comparison):
    text, document, _ = comparison
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 3 * len(document["cases"])  # header, rule, minidl
    assert len({line.count("|") for line in tables}) == 1
    assert len({len(line) for line in tables[:3]}) == 1
    for case in document["cases"]:
        assert f"### {case['title']}" in text


def test_peers_compute_the_same_outputs(tmp_path):
    lookup = "import importlib.util as u; print(*[n for n in {} if u.find_spec(n)], sep=',')"
    names = ("torch", "keras", "onnxruntime", "openvino")
    command = [PEER_PYTHON, "-c", lookup.format(names)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not found:
        pytest.skip("no peer is installed (see benchmarks/README.md)")
    peers = ("--peers", found, "--peer-python", PEER_PYTHON)
    names = ("ResNet50", "InceptionV3", "MobileNetV2", "EfficientNetLite0")
    networks = ("--networks", *names, "--batches", "2", "--no-top")
    _, document, _ = measure(tmp_path, "networks", *peers, *networks)
    for case in document["cases"]:
        assert [r["engine"] for r in case["results"]] == ["minidl", *found.split(",")]
        assert all(r["difference"] < 1e-4 for r in case["results"])
        times = [r["median"] for r in case["results"]]
        assert case["ratio"] == pytest.approx(min(times[1:]) / times[0])


def test_a_peer_that_is_not_installed_is_skipped_with_a_note(tmp_path):
    if importlib.util.find_spec("onnxruntime"):
        pytest.skip("onnxruntime is installed here")
    arguments = ("--networks", "VGG16", "--batches", 1, "--peers", "onnxruntime")
    text, document, _ = measure(tmp_path, "networks", *arguments)
    assert "ONNX Runtime" in text
    assert [r["engine"] for r in document["cases"][0]["results"]] == ["minidl"]


def test_an_unknown_peer_is_rejected():
    done = run("networks", "--peers", "torch,caffe")
    assert done.returncode == 2
    assert "'caffe'" in done.stderr


def test_kernels_are_reported_for_each_shape_in_both_directions(kernels):
    text, document, _ = kernels
    assert document["machine"]["sgemm_gflops"] > 1
    for case in document["cases"]:
        for direction, factor in (("forward", 1), ("gradients", 2)):
            results = {r["algorithm"]: r for r in case["results"] if r["direction"] == direction}
            assert {"naive loops", "NumPy im2col", f"minidl {case['chosen']}"} <= set(results)
            for result in results.values():
                gflop = factor * case["gflop"]
                assert result["gflops"] == pytest.approx(1e3 * gflop / result["median"])
    assert "minidl's choice" in text
    assert "sgemm peak" in text


def test_results_can_be_plotted(comparison, kernels, tmp_path):
    pytest.importorskip("matplotlib")
    files = [comparison[2], kernels[2]]
    done = run("plot", *files, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    for file in files:
        assert (tmp_path / f"{file.stem}.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("window", "strides", "pads"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (0, 0, 0, 0)),
        ((1, 7), (1, 1), (0, 0, 3, 3)),
        ((1, 1), (2, 2), (0, 0, 0, 0)),
        ((1, 1), (1, 1), (0, 0, 0, 0)),
    ],
)
def test_all_implementations_of_a_convolution_agree(load, window, strides, pads):
    module = load("convolutions")
    job = {
        "batch": 2,
        "input": (9, 10, 8),
        "kernel": (*window, 8, 16),
        "strides": strides,
        "pads": pads,
    }

    def compute(way, direction):
        job.update(variant=way, direction=direction)
        return module.convolution_step(job)()

    ways = set(module.WAYS)
    if window != (3, 3) or strides != (1, 1):
        ways.discard("minidl winograd")
    expected = compute("naive loops", "forward")
    dx, dw = compute("naive loops", "gradients")
    for way in ways:
        # The error of Winograd is about 1e-5 of the range, that of the others is smaller.
        y = compute(way, "forward")
        np.testing.assert_allclose(y, expected, atol=5e-5 * np.abs(expected).max(), err_msg=way)
        for got, wanted in zip(compute(way, "gradients"), (dx, dw), strict=False):
            assert got.shape == wanted.shape, way
            np.testing.assert_allclose(got, wanted, atol=5e-5 * np.abs(wanted).max(), err_msg=way)


def test_the_layer_shapes_are_those_of_the_networks(load):
    shapes = load("layer_shapes").layer_shapes({"VGG16": 224, "ResNet50": 224}, batch=8)
    for network, multiplications in (("VGG16", 15.35), ("ResNet50", 3.86)):  # 10**9, as published
        gflop = sum(shape["gflop"] * shape["count"].get(network, 0) for shape in shapes)
        assert gflop / 2 == pytest.approx(multiplications, abs=0.01)
    assert sum(shape["count"].get("ResNet50", 0) for shape in shapes) == 53


def test_the_columns_of_a_table_are_aligned(load):
    table = load("report").table
    lines = table(["engine", "ms"], [["minidl", 1.234], ["a peer", 250.7]]).splitlines()
    assert lines == ["engine    ms", "minidl  1.23", "a peer   251"]
