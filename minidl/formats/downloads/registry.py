"""The official weight files: where they are to be had, and how to have them here, verified.

``registry.json`` names each file's address, size and hashes; :func:`fetch` returns the path of a
file whose bytes are exactly those. What has broken off goes on where it stopped.

>>> from minidl.formats.downloads.registry import load_registry
>>> load_registry()["vgg16-notop"].bytes
58889256
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from minidl.common.errors import FileFormatError
from minidl.formats.downloads.download import disk_errors, download

__all__ = ["Entry", "cache_folder", "fetch", "load_registry", "weights_folder"]


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
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f".{path.name}.lock"), entry, progress):
            if not _is_there(entry, path):  # another process may have fetched it meanwhile
                download(entry, path, progress, timeout)
                _is_there(entry, path)  # leaves the note that it was verified
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


@contextlib.contextmanager
def _locked(path: Path, entry: Entry, progress: bool) -> Iterator[None]:
    """Be the only process here. The system frees the lock of a process that dies."""
    with disk_errors(path):
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
