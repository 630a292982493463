"""``minidl weights``: output, downloads, and usage errors."""

import argparse
import hashlib
import http.server
import json
import threading

import numpy as np
import pytest

from minidl import Input, Sequential, layers
from minidl.cli.options import command_adder
from minidl.cli.weights import add_weights_command
from minidl.formats.downloads.registry import Entry, load_registry, weights_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("MINIDL_WEIGHTS_URL", raising=False)


def run(*arguments):
    """Run a command as cli.main does, without catching errors."""
    parser = argparse.ArgumentParser(prog="minidl")
    add_weights_command(command_adder(parser.add_subparsers(required=True)))
    options = parser.parse_args(["weights", *map(str, arguments)])
    return options.command(options) or 0


def wrong_usage(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def saved(tmp_path):
    model = Sequential([Input((4,)), layers.Dense(3, name="head")])
    model.save_weights(tmp_path / "small.h5")
    return tmp_path / "small.h5"


def test_inspect_prints_tensors_and_matching_networks(saved, capsys):
    assert run("inspect", saved) == 0
    out = capsys.readouterr().out
    assert f"{saved}: minidl weights, 1 layers with 2 tensors of 15 numbers" in out
    assert "head/kernel  (4, 3)  float32" in out
    assert "Resembles none of the known networks" in out


def test_inspect_prints_json(saved, capsys):
    assert run("inspect", saved, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == str(saved)
    assert report["parameters"] == 15
    assert report["layers"][0]["tensors"]["kernel"]["shape"] == [4, 3]
    assert report["fits"] == []


def test_convert_prints_a_summary(saved, tmp_path, capsys):
    assert run("convert", saved, tmp_path / "out.h5") == 0
    assert "the weights of 1 layers, from minidl weights" in capsys.readouterr().out
    assert (tmp_path / "out.h5").exists()


def test_fetch_lists_the_available_files(capsys):
    entry = load_registry()["vgg16-notop"]
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(b"here")
    assert run("fetch", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(load_registry())
    assert "553 MB" in lines[0]
    assert [line for line in lines if str(weights_folder()) in line] == [lines[1]]


def test_fetch_downloads_and_prints_the_path(monkeypatch, capsys):
    content = np.random.default_rng(0).bytes(1000)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/net.h5"
    entry = Entry("net", url, hashlib.md5(content).hexdigest(), len(content))
    monkeypatch.setattr("minidl.formats.downloads.registry.load_registry", lambda: {"net": entry})
    try:
        assert run("fetch", "net") == 0
    finally:
        server.shutdown()
        server.server_close()
    assert capsys.readouterr().out.splitlines() == [str(weights_folder() / "net.h5")]
    assert (weights_folder() / "net.h5").read_bytes() == content


def test_wrong_usage(capsys):
    assert "expected one of vgg16, " in wrong_usage(capsys, "fetch", "alexnet")
    assert "required" in wrong_usage(capsys, "fetch")
    assert "required" in wrong_usage(capsys, "convert", "a.h5")
    assert "invalid choice" in wrong_usage(capsys, "steal")
