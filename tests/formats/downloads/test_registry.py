"""Fetching weight files, from a server on this machine that fails in every way servers do."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minidl.common.errors import FileFormatError
from minidl.formats.downloads import download
from minidl.formats.downloads import registry as module
from minidl.formats.downloads.registry import (
    Entry,
    cache_folder,
    fetch,
    load_registry,
    weights_folder,
)

CONTENT = np.random.default_rng(0).bytes(300_000)
HALF = len(CONTENT) // 2


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT as `behave(handler, start)` does it; notes what was asked for."""

    daemon_threads = True

    def __init__(self, behave=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave or good
        self.asked = []  # the Range header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/models/net.h5"

    def handle_error(self, request, client_address):
        """Stay quiet where a client hangs up."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        self.server.behave(self, int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0)

    def head(self, code, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def head_from(self, start):
        """Answer as a good server does to a request for CONTENT[start:]."""
        size = len(CONTENT)
        if start >= size:
            self.head(416, Content_Range=f"bytes */{size}", Content_Length=0)
        elif start:
            given = f"bytes {start}-{size - 1}/{size}"
            self.head(206, Content_Range=given, Content_Length=size - start)
        else:
            self.head(200, Content_Length=size)

    def log_message(self, *_):
        pass


def good(handler, start):
    handler.head_from(start)
    handler.wfile.write(CONTENT[start:])


def cuts_off_at_half(handler, start):
    handler.head_from(start)
    handler.wfile.write(CONTENT[start:HALF])


def wrong_bytes(handler, start):
    handler.head_from(start)
    handler.wfile.write(bytes(len(CONTENT) - start))


def hangs_at_half(handler, start):
    cuts_off_at_half(handler, start)
    handler.wfile.flush()
    time.sleep(5)


def ignores_range(handler, start):
    good(handler, 0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MINIDL_WEIGHTS_URL", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "home"


@pytest.fixture
def serve():
    """Start servers; all are gone after the test."""
    servers = []

    def start(behave=None):
        server = Server(behave)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def entry_for(url, **changes):
    known = {
        "url": url,
        "bytes": len(CONTENT),
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    return Entry("net", **{**known, **changes})


def get(url, timeout=5.0, **changes):
    entry = entry_for(url, **changes)
    return fetch("net", registry={"net": entry}, progress=False, timeout=timeout)


def refused(kind, url, timeout=5.0, **changes):
    """Fetch what must not be had; nothing has the file's name, and the complaint is one line."""
    with pytest.raises(kind) as caught:
        get(url, timeout, **changes)
    assert not (weights_folder() / "net.h5").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def put(name, content):
    weights_folder().mkdir(parents=True, exist_ok=True)
    (weights_folder() / name).write_bytes(content)
    return weights_folder() / name


def size_of_part():
    part = weights_folder() / "net.h5.part"
    return part.stat().st_size if part.exists() else 0


def visible_files():
    return sorted(p.name for p in weights_folder().iterdir() if not p.name.startswith("."))


# What the registry says


def test_each_entry_is_complete():
    registry = load_registry()
    assert {"vgg16", "resnet50", "inception_v3", "vgg16-notop"} <= set(registry)
    for entry in registry.values():
        assert entry.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{32}", entry.md5)
        assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.bytes is None or entry.bytes > 50e6
        assert entry.description
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
    with pytest.raises(ValueError, match=r"expected one of vgg16, .*; received 'alexnet'"):
        fetch("alexnet")


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
    assert "answers 302" in refused(ConnectionError, server.url)


# The download breaks off


def test_a_download_that_broke_off_goes_on_where_it_stopped(serve):
    server = serve(cuts_off_at_half)
    message = refused(ConnectionError, server.url)
    assert "broke off after 150,000 of 300,000 bytes" in message
    assert "fetch it again" in message
    assert (weights_folder() / "net.h5.part").read_bytes() == CONTENT[:HALF]
    server.behave, server.asked = good, []
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == [f"bytes={HALF}-"]
    assert visible_files() == ["net.h5"]


def test_a_server_that_breaks_off_now_and_then_is_asked_again_at_once(serve):
    def a_third_at_a_time(handler, start):
        handler.head_from(start)
        handler.wfile.write(CONTENT[start : start + 100_000])

    server = serve(a_third_at_a_time)
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_breaking_off_is_noticed_where_the_size_is_known_from_the_server_alone(serve):
    server = serve(cuts_off_at_half)
    message = refused(ConnectionError, server.url, bytes=None)
    assert "150,000 of 300,000" in message
    server.behave = good
    assert get(server.url, bytes=None).read_bytes() == CONTENT


def test_a_server_that_ignores_the_range_is_taken_from_the_start(serve):
    put("net.h5.part", CONTENT[:1000])
    server = serve(ignores_range)
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


@pytest.mark.parametrize("given", ["bytes 7-299999/300000", "nonsense", None])
def test_a_server_that_sends_another_range_is_asked_for_all(serve, given):
    def another_range(handler, start):
        if not start:
            good(handler, 0)
            return
        headers = {} if given is None else {"Content_Range": given}
        handler.head(206, Content_Length=5, **headers)
        handler.wfile.write(b"wrong")

    put("net.h5.part", CONTENT[:1000])
    server = serve(another_range)
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_server_that_refuses_the_range_is_asked_for_all(serve):
    def refuses_ranges(handler, start):
        handler.head_from(10**9 if start else 0)
        handler.wfile.write(b"" if start else CONTENT)

    put("net.h5.part", CONTENT[:1000])
    assert get(serve(refuses_ranges).url).read_bytes() == CONTENT


def test_a_part_of_another_file_costs_one_download_more(serve):
    put("net.h5.part", b"<html>not found</html>")
    server = serve()
    assert get(server.url).read_bytes() == CONTENT
    assert server.asked == ["bytes=22-", None]


def test_a_part_that_is_whole_or_too_long(serve):
    server = serve()
    put("net.h5.part", CONTENT)
    get(server.url)
    assert server.asked == []
    (weights_folder() / "net.h5").unlink()
    put("net.h5.part", CONTENT + b"more")
    get(server.url)
    assert server.asked == [None]
    (weights_folder() / "net.h5").unlink()
    put("net.h5.part", CONTENT)
    assert get(server.url, bytes=None).read_bytes() == CONTENT


@pytest.mark.parametrize("keep", [0, HALF])
def test_a_silent_server_is_given_up(serve, keep):
    def hangs(handler, start):
        handler.head_from(start)
        handler.wfile.write(CONTENT[start:keep])
        handler.wfile.flush()
        time.sleep(5)

    start = time.perf_counter()
    message = refused(ConnectionError, serve(hangs).url, timeout=0.2)
    assert time.perf_counter() - start < 3
    assert "timed out" in message
    assert size_of_part() == keep


def test_an_interrupted_download_can_go_on(serve, monkeypatch):
    def interrupted(self, *_):
        raise KeyboardInterrupt

    import tqdm.auto

    server = serve(hangs_at_half)
    with monkeypatch.context() as patched:
        patched.setattr(tqdm.auto.tqdm, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(server.url)
    assert 0 < size_of_part() <= HALF
    assert visible_files() == ["net.h5.part"]
    server.behave = good
    assert get(server.url).read_bytes() == CONTENT


# The server is wrong


@pytest.mark.parametrize("length", [1000, 900_000])
def test_another_size_than_expected_is_refused_at_once(serve, length):
    def offers(handler, start):
        handler.head(200, Content_Length=length)
        handler.wfile.write(CONTENT)

    message = refused(FileFormatError, serve(offers).url)
    assert f"offers {length:,} bytes" in message
    assert "expected 300,000 bytes" in message


def test_more_bytes_than_announced_and_an_endless_stream(serve):
    def too_much(handler, start):
        handler.head_from(0)
        handler.wfile.write(CONTENT + b"more")

    def endless(handler, start):
        handler.head(200)
        while True:
            handler.wfile.write(bytes(100_000))

    assert get(serve(too_much).url).read_bytes() == CONTENT
    (weights_folder() / "net.h5").unlink()
    assert "has the sha256" in refused(FileFormatError, serve(endless).url)


def test_fewer_bytes_than_announced_by_a_server_without_ranges(serve):
    def too_little(handler, start):
        handler.head_from(0)
        handler.wfile.write(CONTENT[:HALF])

    message = refused(ConnectionError, serve(too_little).url)
    assert "broke off after 150,000 of 300,000 bytes (the server closed the connection)" in message


def test_a_length_that_is_no_number(serve):
    def nonsense(handler, start):
        handler.head(200, Content_Length="many")
        handler.wfile.write(CONTENT)

    assert get(serve(nonsense).url).read_bytes() == CONTENT


def test_wrong_bytes_are_thrown_away(serve):
    server = serve(wrong_bytes)
    message = refused(FileFormatError, server.url)
    assert "has the sha256" in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert visible_files() == []
    server.behave = good
    get(server.url)


def test_a_wrong_md5_is_noticed_where_it_is_the_only_hash(serve):
    assert "has the md5" in refused(FileFormatError, serve(wrong_bytes).url, sha256=None)


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("announced", [True, False])
def test_a_web_page_instead_of_a_file_is_refused(serve, size, announced):
    def page(handler, start):
        text = b"<html>Please log in</html>"
        length = {"Content_Length": len(text)} if announced else {}
        handler.head(200, Content_Type="text/html; charset=utf-8", **length)
        handler.wfile.write(text)

    assert "text/html" in refused(FileFormatError, serve(page).url, bytes=size)
    assert visible_files() == []


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
def test_an_error_of_the_server_names_file_and_place(serve, code):
    server = serve(lambda handler, start: handler.head(code, Content_Length=0))
    message = refused(ConnectionError, server.url)
    assert f"answers {code} " in message
    assert f"download {server.url} by other means" in message
    assert f"put it at {weights_folder() / 'net.h5'}" in message


def test_a_server_that_speaks_no_http(serve):
    def gibberish(handler, start):
        handler.wfile.write(b"\x00\xff gibberish\r\n\r\n")

    refused(ConnectionError, serve(gibberish).url)


# No network, no disk


def test_offline_one_sentence_says_which_file_to_put_where():
    url = "http://127.0.0.1:9/models/net.h5"  # nobody listens there
    message = refused(ConnectionError, url)
    assert message.startswith("net: nothing came from 127.0.0.1:9 (")
    assert message.endswith(
        f"; download {url} by other means and put it at {weights_folder() / 'net.h5'}"
    )
    put("net.h5", CONTENT)
    assert get(url).read_bytes() == CONTENT


def test_a_host_that_does_not_exist():
    assert "weights.invalid" in refused(ConnectionError, "http://weights.invalid/net.h5")


def test_https_needs_a_certificate(serve):
    url = serve().url.replace("http:", "https:")
    assert "SSL" in refused(ConnectionError, url)


def test_a_disk_without_room_is_noticed_before_anything_is_written(serve, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    message = refused(OSError, serve().url)
    assert "the disk is full, 300,000 bytes are missing; set MINIDL_HOME" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up(serve):
    weights_folder().mkdir(parents=True)
    (weights_folder() / "net.h5.part").symlink_to("/dev/full")
    assert "the disk is full" in refused(OSError, serve().url)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, serve):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "taken"))
    with pytest.raises(OSError, match="cannot be written .*; set MINIDL_HOME"):
        get(serve().url)


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
