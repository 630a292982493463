"""Verified download of one file; an interrupted download resumes.

>>> from minidl.formats.downloads.download import disk_errors
>>> with disk_errors("weights.h5"):
...     raise OSError(28, "No space left on device")
Traceback (most recent call last):
    ...
OSError: weights.h5: the disk is full; set MINIDL_HOME to another folder
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from minidl.common.errors import FileFormatError
from minidl.version import __version__

if TYPE_CHECKING:
    from minidl.formats.downloads.registry import Entry

__all__ = ["disk_errors", "download"]

ATTEMPTS = 10  # per call of fetch, as long as each attempt receives data
CHUNK = 1 << 18  # bytes
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))


def download(entry: Entry, path: Path, progress: bool, timeout: float) -> None:
    """Download the file of a registry's `entry` to `path`, which only a verified file gets.

    Parameters
    ----------
    entry : minidl.formats.downloads.registry.Entry
    path : Path
        A partial download is stored beside it, with the suffix ``.part``.
    progress : bool
        Whether to draw a progress bar.
    timeout : float
        Seconds to wait for a response of the server.

    Raises
    ------
    ConnectionError, FileFormatError, OSError
        See :func:`minidl.formats.downloads.registry.fetch`.
    """
    part = path.with_name(f"{path.name}.part")
    resumed = _size(part) > 0
    while True:
        _complete(entry, part, progress, timeout)
        problem = entry.problem(part)
        if not problem:
            break
        part.unlink()
        if not resumed:
            raise FileFormatError(
                f"{entry.key}: the file from {entry.address} {problem}, and was deleted; try "
                f"later, or {entry.by_hand}"
            )
        resumed = False  # the former part may have been wrong: download the whole file once
    with disk_errors(path):
        os.replace(part, path)


def _complete(entry: Entry, part: Path, progress: bool, timeout: float) -> None:
    """Request the missing bytes of `part` until it is complete or no more bytes arrive."""
    for _ in range(ATTEMPTS):
        before = _size(part)
        if entry.bytes is not None and before > entry.bytes:
            part.unlink()
            before = 0
        if before == entry.bytes:
            return
        reason, total = "the server closed the connection", entry.bytes
        try:
            total = _receive(entry, part, progress, timeout)
            if total in (None, _size(part)):
                return
        except _Broken as error:
            reason = str(error)
        if _size(part) <= before:
            break
    if _size(part) == 0:
        host = urlsplit(entry.address).netloc
        raise ConnectionError(f"{entry.key}: no data from {host} ({reason}); {entry.by_hand}")
    of = f" of {total:,}" if total else ""
    raise ConnectionError(
        f"{entry.key}: the download stopped after {_size(part):,}{of} bytes ({reason}); fetch it "
        f"again to resume, or {entry.by_hand}"
    )


def _receive(entry: Entry, part: Path, progress: bool, timeout: float) -> int | None:
    """Append the response of one request to `part`; return the whole file's size, if known."""
    from tqdm.auto import tqdm

    response, have, announced = _open(entry, _size(part), timeout)
    with response:
        kind = response.headers.get_content_type()
        page = kind == "text/html" and (announced is None or announced != entry.bytes)
        if page or (entry.bytes and announced not in (None, entry.bytes)):
            amount = "a file" if announced is None else f"{announced:,} bytes"
            raise FileFormatError(
                f"{entry.key}: {entry.address} offers {amount} of type {kind}, expected "
                f"{'a weight file' if entry.bytes is None else f'{entry.bytes:,} bytes'}; "
                f"{entry.by_hand}"
            )
        total = entry.bytes or announced
        with (
            disk_errors(part, (total or 0) - have),
            open(part, "ab" if have else "wb") as file,
            tqdm(
                desc=entry.key,
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                disable=None if progress else True,
            ) as bar,
        ):
            if (total or 0) - have > shutil.disk_usage(part.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            while total is None or have < total:
                with _network_errors():
                    chunk = response.read1(CHUNK)
                if not chunk:
                    break
                chunk = chunk if total is None else chunk[: total - have]
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    return total


def _open(entry: Entry, have: int, timeout: float) -> tuple[HTTPResponse, int, int | None]:
    """Return the response, the offset of its first byte, and the whole file's size, if known."""
    headers = {"User-Agent": f"minidl/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with _network_errors():
            request = urllib.request.Request(entry.address, headers=headers)
            response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return _open(entry, 0, timeout)
        meaning = http.client.responses.get(error.code, "")
        raise ConnectionError(
            f"{entry.key}: {entry.address} responds {error.code} {meaning}; try later, or "
            f"{entry.by_hand}"
        ) from None
    if response.status != 206:  # the whole file, although a part may have been requested
        length = response.headers.get("Content-Length", "")
        return response, 0, int(length) if length.isdecimal() else None
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if given and int(given[1]) == have:
        return response, have, None if given[2] == "*" else int(given[2])
    response.close()
    if have:
        return _open(entry, 0, timeout)
    raise ConnectionError(
        f"{entry.key}: {entry.address} sends only a part of the file; {entry.by_hand}"
    )


class _Broken(Exception):
    """The network failed; another request may succeed."""


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        reason = getattr(error, "reason", None) or error
        raise _Broken(" ".join(str(reason).split()) or type(reason).__name__) from error


@contextlib.contextmanager
def disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Add the file and advice to errors of writing; `needed` is the number of missing bytes."""
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError) or error.errno is None:
            raise
        problem = f"cannot be written ({error.strerror})"
        if error.errno in DISK_FULL:
            problem = "the disk is full" + (f", {needed:,} bytes are missing" if needed > 0 else "")
        raise OSError(f"{path}: {problem}; set MINIDL_HOME to another folder") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
