"""The official weight files: where they are to be had, and how to have them here, verified.

``registry.json`` names each file's address, size and hashes; :func:`fetch` returns the path of a
file whose bytes are exactly those. What has broken off goes on where it stopped.

>>> from minidl.io.registry import load_registry
>>> load_registry()["vgg16-notop"].bytes
58889256
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import minidl
from minidl.errors import FileFormatError

__all__ = ["Entry", "cache_folder", "fetch", "load_registry", "weights_folder"]

ATTEMPTS = 10  # in one call of fetch, as long as each brings the file further
CHUNK = 1 << 18
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))


@dataclass(frozen=True)
class Entry:
    """One file that can be had.

    Attributes
    ----------
    key : str
        What :func:`fetch` calls it.
    url : str
    md5 : str
        The hash that the file's publisher names.
    bytes : int or None
        None where the size is not known.
    sha256 : str or None
    description : str
    file : str
        Its name in :func:`weights_folder`; by default the last part of the url.
    """

    key: str
    url: str
    md5: str
    bytes: int | None = None
    sha256: str | None = None
    description: str = ""
    file: str = ""

    def __post_init__(self):
        object.__setattr__(self, "file", self.file or self.url.rsplit("/", 1)[-1])

    @property
    def path(self) -> Path:
        """Where the file lies, or would lie, on this machine."""
        return weights_folder() / self.file

    @property
    def address(self) -> str:
        """The url to ask: that of the mirror where ``MINIDL_WEIGHTS_URL`` names one."""
        mirror = os.environ.get("MINIDL_WEIGHTS_URL")
        url = mirror.rstrip("/") + urlsplit(self.url).path if mirror else self.url
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"MINIDL_WEIGHTS_URL: expected http:// or https://, received {mirror}")
        return url

    @property
    def by_hand(self) -> str:
        """What to do where no download is possible."""
        return f"download {self.url} by other means and put it at {self.path}"

    def problem(self, path: Path) -> str | None:
        """Say what is wrong with the bytes at `path`: the size first, then the hashes."""
        size = path.stat().st_size
        if self.bytes not in (None, size):
            return f"has {size:,} bytes, expected {self.bytes:,}"
        for kind, expected in self.hashes.items():
            with open(path, "rb") as file:
                new = functools.partial(hashlib.new, kind, usedforsecurity=False)
                found = hashlib.file_digest(file, new).hexdigest()
            if found != expected:
                return f"has the {kind} {found}, expected {expected}"
        return None

    @property
    def hashes(self) -> dict[str, str]:
        """The known hashes by kind."""
        known = {"sha256": self.sha256, "md5": self.md5}
        return {kind: value for kind, value in known.items() if value}


def load_registry() -> dict[str, Entry]:
    """Return the entries of ``registry.json`` by key."""
    text = Path(__file__).with_name("registry.json").read_text(encoding="utf-8")
    return {key: Entry(key, **item) for key, item in json.loads(text).items()}


def cache_folder() -> Path:
    """Return the folder for what can be had again: ``MINIDL_HOME``, else the system's usual one."""
    home = os.environ.get("MINIDL_HOME")
    if home:
        return Path(home).expanduser().absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or "~")
        base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "minidl"


def weights_folder() -> Path:
    """Return the folder where :func:`fetch` keeps weight files, and looks for them first."""
    return cache_folder() / "weights"


def fetch(
    key: str,
    *,
    registry: Mapping[str, Entry] | None = None,
    progress: bool = True,
    timeout: float = 30.0,
) -> Path:
    """Return the path of a verified weight file; download it where it is not there yet.

    Parameters
    ----------
    key : str
        A key of `registry`, such as "resnet50-notop".
    registry : mapping of str to Entry, optional
        By default that of :func:`load_registry`.
    progress : bool
        Draw a progress bar where the output is a terminal.
    timeout : float
        How many seconds the server may be silent.

    Raises
    ------
    ValueError
        For an unknown key.
    ConnectionError
        If the file cannot be downloaded; says which file to put where instead. What has come
        is kept, and the next call goes on from there.
    FileFormatError
        If the file at hand, or what the server sends, has the wrong size or hash.
    OSError
        If the folder cannot be written or the disk is full.
    """
    registry = load_registry() if registry is None else registry
    if key not in registry:
        raise ValueError(f"expected one of {', '.join(registry)}; received {key!r}")
    entry = registry[key]
    path = entry.path
    if not _is_there(entry, path):
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f".{path.name}.lock"), entry, progress):
            if not _is_there(entry, path):  # another process may have fetched it meanwhile
                _download(entry, path, progress, timeout)
    return path


def _is_there(entry: Entry, path: Path) -> bool:
    """Whether the file is there; raise where it is not what it should be.

    Hashing takes a second: a note beside the file tells which size and time of change passed.
    """
    if not path.exists():
        return False
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a file; move away what is there")
    note = path.with_name(f".{path.name}.verified")
    state = path.stat()
    seal = json.dumps([state.st_size, state.st_mtime_ns, entry.hashes])
    with contextlib.suppress(OSError, UnicodeError):
        if note.read_text(encoding="utf-8") == seal:
            return True
    problem = entry.problem(path)
    if problem:
        raise FileFormatError(
            f"{path}: {problem}; delete it to have {entry.key} downloaded from {entry.address}"
        )
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a hash each time
        note.write_text(seal, encoding="utf-8")
    return True


def _download(entry: Entry, path: Path, progress: bool, timeout: float) -> None:
    """Bring the file to `path`; what is not verified never has that name."""
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
                f"{entry.key}: what {entry.address} sent {problem}, and was thrown away; try "
                f"later, or {entry.by_hand}"
            )
        resumed = False  # what was there before may have been the wrong part: once more, all of it
    with _disk_errors(path):
        os.replace(part, path)
    _is_there(entry, path)


def _complete(entry: Entry, part: Path, progress: bool, timeout: float) -> None:
    """Ask for what `part` lacks, again and again as long as that brings it further."""
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
        raise ConnectionError(f"{entry.key}: nothing came from {host} ({reason}); {entry.by_hand}")
    of = f" of {total:,}" if total else ""
    raise ConnectionError(
        f"{entry.key}: the download broke off after {_size(part):,}{of} bytes ({reason}); fetch it "
        f"again to go on from there, or {entry.by_hand}"
    )


def _receive(entry: Entry, part: Path, progress: bool, timeout: float) -> int | None:
    """Append to `part` what one request brings; return the whole file's size, if known."""
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
            _disk_errors(part, (total or 0) - have),
            open(part, "ab" if have else "wb") as file,
            tqdm(
                desc=entry.key, total=total, initial=have, unit="B", unit_scale=True,
                dynamic_ncols=True, disable=None if progress else True,
            ) as bar,
        ):  # fmt: skip
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


def _open(entry: Entry, have: int, timeout: float):
    """Return the response, at which byte it begins, and the whole file's size if it says so."""
    headers = {"User-Agent": f"minidl/{minidl.__version__}", "Accept-Encoding": "identity"}
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
            f"{entry.key}: {entry.address} answers {error.code} {meaning}; try later, or "
            f"{entry.by_hand}"
        ) from None
    if response.status != 206:  # the whole file, whatever was asked for
        length = response.headers.get("Content-Length", "")
        return response, 0, int(length) if length.isdecimal() else None
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if given and int(given[1]) == have:
        return response, have, None if given[2] == "*" else int(given[2])
    response.close()
    if have:
        return _open(entry, 0, timeout)
    raise ConnectionError(f"{entry.key}: {entry.address} sends a part only; {entry.by_hand}")


class _Broken(Exception):
    """The network failed; asking again may help."""


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
def _disk_errors(path: Path, needed: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, ConnectionError) or error.errno is None:
            raise
        what = f"cannot be written ({error.strerror})"
        if error.errno in DISK_FULL:
            what = "the disk is full" + (f", {needed:,} bytes are missing" if needed > 0 else "")
        raise OSError(f"{path}: {what}; set MINIDL_HOME to a folder elsewhere") from error


@contextlib.contextmanager
def _locked(path: Path, entry: Entry, progress: bool) -> Iterator[None]:
    """Be the only process here. The system frees the lock of a process that dies."""
    with _disk_errors(path):
        file = open(path, "ab")  # noqa: SIM115
    try:
        while not (_try_lock(file) and _is_at(path, file)):
            if progress:
                print(f"{entry.key}: another process downloads it; waiting", file=sys.stderr)
                progress = False
            time.sleep(0.1)
            if not _is_at(path, file):  # who had it has finished, and taken the file away
                file.close()
                file = open(path, "ab")  # noqa: SIM115
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not delete what is open
                path.unlink()
    finally:
        file.close()


def _try_lock(file) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: two downloads may spoil each other, which the hash shows.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _is_at(path: Path, file) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
