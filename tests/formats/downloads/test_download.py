"""Downloads: resumed, retried, and refused if the server or the disk fails."""

import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.download_server import (
    CONTENT,
    HALF,
    cuts_off_at_half,
    get,
    good,
    hangs_at_half,
    ignores_range,
    put,
    refused,
    size_of_part,
    visible_files,
    wrong_bytes,
)

from minidl.common.errors import FileFormatError
from minidl.formats.downloads import download
from minidl.formats.downloads.registry import (
    weights_folder,
)

# The download breaks off


def test_a_download_that_broke_off_goes_on_where_it_stopped(serve):
    server = serve(cuts_off_at_half)
    message = refused(ConnectionError, server.url)
    assert "stopped after 150,000 of 300,000 bytes" in message
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
    assert "stopped after 150,000 of 300,000 bytes (the server closed the connection)" in message


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
    assert f"responds {code} " in message
    assert f"download {server.url} by other means" in message
    assert f"save it as {weights_folder() / 'net.h5'}" in message


def test_a_server_that_speaks_no_http(serve):
    def gibberish(handler, start):
        handler.wfile.write(b"\x00\xff gibberish\r\n\r\n")

    refused(ConnectionError, serve(gibberish).url)


# No network, no disk


def test_offline_one_sentence_says_which_file_to_put_where():
    url = "http://127.0.0.1:9/models/net.h5"  # nobody listens there
    message = refused(ConnectionError, url)
    assert message.startswith("net: no data from 127.0.0.1:9 (")
    assert message.endswith(
        f"; download {url} by other means and save it as {weights_folder() / 'net.h5'}"
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
