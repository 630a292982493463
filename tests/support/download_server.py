"""A local HTTP server for tests of downloads, with faults on demand."""

import hashlib
import http.server
import re
import threading
import time

import numpy as np
import pytest

from minidl.formats.downloads.registry import (
    Entry,
    fetch,
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
