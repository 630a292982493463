"""The registry of weight files: entries, cache, verification, locks between processes."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.download_server import (
    CONTENT,
    HALF,
    entry_for,
    get,
    good,
    hangs_at_half,
    put,
    refused,
    size_of_part,
    visible_files,
)

from minidl.common.errors import FileFormatError
from minidl.formats.downloads import registry as module
from minidl.formats.downloads.registry import (
    Entry,
    cache_folder,
    fetch,
    identify,
    load_registry,
    weights_folder,
)

# What the registry says


def test_each_entry_is_complete():
    registry = load_registry()
    assert {"vgg16", "resnet50", "inception_v3", "vgg16-notop"} <= set(registry)
    for entry in registry.values():
        assert entry.url.startswith("https://")
        assert entry.hashes
        assert entry.md5 is None or re.fullmatch("[0-9a-f]{32}", entry.md5)
        assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.bytes is None or entry.bytes > 15e6
        assert entry.description
        assert entry.license
    names = [entry.file for entry in registry.values()]
    assert len(set(names)) == len(names)  # both generations of ResNet50 can lie side by side


def test_the_copy_in_the_weights_folder_is_the_same_file():
    copy = Path(__file__).parents[3] / "weights" / "registry.json"
    assert json.loads(copy.read_text()) == json.loads(
        Path(module.__file__).with_name("registry.json").read_text()
    )


def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "home"
    assert weights_folder() == tmp_path / "home" / "weights"
    monkeypatch.setenv("MINIDL_HOME", "~/models")
    assert cache_folder() == Path.home() / "models"
    monkeypatch.delenv("MINIDL_HOME")
    for platform, variable, expected in (
        ("linux", None, Path.home() / ".cache" / "minidl"),
        ("linux", "XDG_CACHE_HOME", tmp_path / "minidl"),
        ("darwin", None, Path.home() / "Library" / "Caches" / "minidl"),
        ("win32", None, Path.home() / "AppData" / "Local" / "minidl"),
        ("win32", "LOCALAPPDATA", tmp_path / "minidl"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        if variable:
            monkeypatch.setenv(variable, str(tmp_path))
        assert cache_folder() == expected


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of vgg16, .*, received 'alexnet'"):
        fetch("alexnet")


def test_an_official_file_is_identified_by_its_content(tmp_path, monkeypatch):
    entries = {
        "net": entry_for("https://example.org/a"),
        "other": entry_for("https://example.org/b", bytes=None, md5=None, sha256="0" * 64),
    }
    monkeypatch.setattr(module, "load_registry", lambda: entries)
    path = tmp_path / "renamed.bin"
    path.write_bytes(CONTENT)
    assert identify(path) is entries["net"]
    path.write_bytes(b"x" + CONTENT[1:])
    assert identify(path) is None


# Installed packages


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that installs a package with one file, and a module that must not run."""

    def install(content=CONTENT):
        folder = tmp_path / "site-packages"
        (folder / "net_model" / "models").mkdir(parents=True)
        (folder / "net_model" / "__init__.py").write_text("raise SystemExit('was imported')")
        (folder / "net_model" / "models" / "net.pth").write_bytes(content)
        (folder / "net_model-1.0.dist-info").mkdir()
        metadata = "Metadata-Version: 2.1\nName: net-model\nVersion: 1.0\n"
        (folder / "net_model-1.0.dist-info" / "METADATA").write_text(metadata)
        monkeypatch.syspath_prepend(str(folder))
        return folder / "net_model" / "models" / "net.pth"

    return install


FROM_PACKAGE = {"package": "net-model", "resource": "net_model/models/net.pth"}
NOWHERE = "http://127.0.0.1:9/net.h5"


def test_an_installed_package_is_taken_before_cache_and_network(package):
    put("net.h5", CONTENT)
    path = package()
    entry = entry_for(NOWHERE, **FROM_PACKAGE)
    assert entry.installed == entry.local == path
    assert get(NOWHERE, **FROM_PACKAGE) == path
    assert "net_model" not in sys.modules
    assert sorted(item.name for item in path.parent.iterdir()) == ["net.pth"]  # nothing is written


def test_without_the_package_the_cache_is_taken(package):
    path = put("net.h5", CONTENT)
    entry = entry_for(NOWHERE, **FROM_PACKAGE)
    assert (entry.installed, entry.local) == (None, path)
    assert get(NOWHERE, **FROM_PACKAGE) == path
    package().unlink()  # an incomplete installation
    assert get(NOWHERE, **FROM_PACKAGE) == path


def test_a_damaged_package_is_refused_with_advice(package):
    package(b"x" + CONTENT[1:])
    with pytest.raises(FileFormatError, match="has the sha256 .*pip install --force-reinstall net"):
        get(NOWHERE, **FROM_PACKAGE)


def test_without_package_and_network_the_message_says_how_to_install():
    with pytest.raises(ConnectionError, match="install it with 'pip install net-model', or down"):
        get(NOWHERE, **FROM_PACKAGE)


def test_a_network_with_one_file_has_it_for_both_keys(serve):
    server = serve()
    registry = {"net": entry_for(server.url)}
    path = fetch("net-notop", registry=registry, progress=False)
    assert path == fetch("net", registry=registry, progress=False)
    with pytest.raises(ValueError, match="expected one of net, received 'other'"):
        fetch("other-notop", registry=registry)


# All goes well


def test_a_file_is_downloaded_once(serve):
    server = serve()
    path = get(server.url)
    assert path == weights_folder() / "net.h5"
    assert path.read_bytes() == CONTENT
    assert get(server.url) == path
    assert server.asked == [None]
    assert visible_files() == ["net.h5"]
    assert not (weights_folder() / ".net.h5.lock").exists()


def test_a_verified_file_is_not_hashed_again_until_it_changes(serve, monkeypatch):
    path = put("net.h5", CONTENT)
    hashed = []
    problem = Entry.problem
    monkeypatch.setattr(
        Entry, "problem", lambda self, path: hashed.append(path) or problem(self, path)
    )
    for _ in range(3):
        assert get("http://127.0.0.1:9/net.h5") == path
    assert hashed == [path]
    damaged = b"x" + CONTENT[1:]
    path.write_bytes(damaged)
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileFormatError, match="has the sha256"):
        get("http://127.0.0.1:9/net.h5")
    assert path.read_bytes() == damaged  # it is the user's: never deleted, never overwritten


def test_a_file_of_the_wrong_size_is_said_to_be_so():
    path = put("net.h5", CONTENT[:-1])
    with pytest.raises(FileFormatError) as caught:
        get("http://127.0.0.1:9/net.h5")
    message = str(caught.value)
    assert f"{path}: has 299,999 bytes, expected 300,000; delete it" in message
    assert "http://127.0.0.1:9/net.h5" in message


def test_a_folder_of_that_name_is_refused():
    (weights_folder() / "net.h5").mkdir(parents=True)
    with pytest.raises(FileFormatError, match=r"net\.h5: expected a file"):
        get("http://127.0.0.1:9/net.h5")


def test_an_unknown_size_is_no_obstacle(serve):
    server = serve()
    path = get(server.url, bytes=None, sha256=None)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_mirror_takes_the_place_of_the_host(serve, monkeypatch):
    seen = []
    server = serve(lambda handler, start: (seen.append(handler.path), good(handler, start)))
    base = server.url.removesuffix("/models/net.h5")
    monkeypatch.setenv("MINIDL_WEIGHTS_URL", f"{base}/mirror/")
    get("https://weights.invalid/a/b/net.h5")
    assert seen == ["/mirror/a/b/net.h5"]


def test_a_mirror_that_is_no_web_address_is_refused(monkeypatch):
    monkeypatch.setenv("MINIDL_WEIGHTS_URL", "file:///etc")
    assert "expected http:// or https://" in refused(ValueError, "https://weights.invalid/net.h5")


def test_a_redirection_is_followed_and_an_endless_one_refused(serve):
    goal = serve()
    server = serve(lambda handler, start: handler.head(302, Location=goal.url, Content_Length=0))
    assert get(server.url).read_bytes() == CONTENT
    (weights_folder() / "net.h5").unlink()
    server.behave = lambda handler, start: handler.head(302, Location=server.url, Content_Length=0)
    assert "responds 302" in refused(ConnectionError, server.url)


# Two processes at once

FETCH = """
import json, sys
from minidl.formats.downloads.registry import Entry, fetch
entry = Entry(**json.loads(sys.argv[1]))
print(fetch("net", registry={"net": entry}, progress=True, timeout=20))
"""


def another_process(url):
    entry = entry_for(url)
    fields = {name: getattr(entry, name) for name in ("key", "url", "md5", "bytes", "sha256")}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, json.dumps(fields)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_one_download(serve):
    go_on = threading.Event()

    def slowly(handler, start):
        handler.head_from(start)
        handler.wfile.write(CONTENT[start:HALF])
        handler.wfile.flush()
        go_on.wait(20)
        handler.wfile.write(CONTENT[max(start, HALF) :])

    server = serve(slowly)
    processes = [another_process(server.url) for _ in range(2)]
    lines = []
    for process in processes:  # one of them says that it waits for the other
        reader = threading.Thread(target=lambda p=process: lines.append(p.stderr.readline()))
        reader.daemon = True
        reader.start()
    wait_until(lambda: any("waiting" in line for line in lines))
    go_on.set()
    for process in processes:
        assert process.wait(10) == 0
        assert process.stdout.read().strip() == str(weights_folder() / "net.h5")
    assert server.asked == [None]
    assert (weights_folder() / "net.h5").read_bytes() == CONTENT
    assert visible_files() == ["net.h5"]


def test_lock_and_part_of_a_killed_process_are_taken_over(serve):
    server = serve(hangs_at_half)
    process = another_process(server.url)
    wait_until(lambda: size_of_part() >= HALF // 2 or process.poll() is not None)
    process.kill()
    process.wait(5)
    kept = size_of_part()
    assert kept > 0
    server.behave, server.asked = good, []
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == [f"bytes={kept}-"]


def wait_until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
