"""Atomic writing of files and folders: after a failure, the former or the new one is complete.

The bytes go to a file without a name in the same folder, which the system removes if the process
dies. Only a complete file, flushed to the disk, receives the name. File systems without unnamed
files get a hidden file instead, locked while its writer lives; the next writer removes what a
dead one left.

>>> import tempfile
>>> from pathlib import Path
>>> from minidl.common.atomic_files import atomic_file, write_file
>>> path = Path(tempfile.mkdtemp()) / "notes.txt"
>>> write_file(path, "first")
>>> with atomic_file(path) as file:
...     _ = file.write(b"second")
...     print(path.read_text())
first
>>> path.read_text()
'second'
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file in use cannot be removed either
    fcntl = None  # type: ignore[assignment]

__all__ = ["atomic_file", "atomic_folder", "full_disk_errors", "write_file"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
OPEN_FILES = Path("/proc/self/fd")  # where Linux gives an unnamed file a name


def write_file(path: str | os.PathLike[str], content: str | bytes | memoryview) -> None:
    """Write a whole file atomically.

    Parameters
    ----------
    path : str or Path
        An existing file is replaced. It keeps its permissions, and a symbolic link to it stays.
    content : str or bytes
        Text is encoded as UTF-8.

    Raises
    ------
    OSError
        If the file cannot be written: the folder is missing or the disk is full. The message
        states the reason; the former file is unchanged.
    """
    data = memoryview(content.encode() if isinstance(content, str) else content)
    with atomic_file(path, data.nbytes) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], size: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing; it replaces `path` when the ``with`` block ends without an error.

    Parameters
    ----------
    path : str or Path
        See :func:`write_file`. A device, such as ``/dev/stdout``, is written directly.
    size : int, optional
        Number of bytes that will be written, for the message about a full disk.

    Yields
    ------
    binary file object

    Raises
    ------
    OSError
        See :func:`write_file`.
    """
    if _is_device(Path(path)):
        with open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    _check_target(Path(path), target)
    with full_disk_errors(path, size), _Replacement(target) as file:
        yield file


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Create a folder that receives its name when the ``with`` block ends without an error.

    Parameters
    ----------
    path : str or Path
        The name. Its parent folder must exist.

    Yields
    ------
    Path
        The new folder under a hidden name.

    Raises
    ------
    FileExistsError
        If the name is taken by then; the other folder stays.
    OSError
        If the folder cannot be created.
    """
    target = Path(path)
    _remove_leftovers(target.parent, r".+", shutil.rmtree)
    hidden = _hidden_name(target)
    hidden.mkdir()
    descriptor = os.open(hidden, os.O_RDONLY) if fcntl is not None else None
    try:
        if descriptor is not None:
            _lock(descriptor)
        yield hidden
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        os.rename(hidden, target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def full_disk_errors(path: str | os.PathLike[str], size: int | None = None) -> Iterator[None]:
    """Replace the error of a full disk or an exhausted quota by a sentence with the numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        needed = "" if size is None else f"{size:,} bytes needed, "
        free = shutil.disk_usage(Path(os.path.realpath(path)).parent).free
        full = OSError(
            f"{path}: cannot be written because the disk is full or a quota is reached "
            f"({needed}{free:,} bytes free); nothing was changed"
        )
        full.errno = error.errno
        raise full from error


class _Replacement:
    """A new file, unnamed or hidden, that replaces `target` when its block ends."""

    def __init__(self, target: Path) -> None:
        self.target, self.hidden = target, _hidden_name(target)
        self.named = False

    def __enter__(self) -> BinaryIO:
        _remove_leftovers(self.target.parent, re.escape(self.target.name), os.unlink)
        try:
            descriptor = self._open()
        except OSError as error:
            if error.errno in FULL:
                raise
            raise type(error)(f"{self.target}: cannot be written ({error.strerror})") from None
        self.file: BinaryIO = os.fdopen(descriptor, "wb")
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            with contextlib.suppress(OSError):  # closing repeats a failed write
                self.file.close()
            if self.named:
                with contextlib.suppress(OSError):
                    self.hidden.unlink()

    def _open(self) -> int:
        """Open and lock the new file, with the permissions of the former one."""
        descriptor = -1
        if hasattr(os, "O_TMPFILE") and OPEN_FILES.is_dir():
            with contextlib.suppress(OSError):  # not every file system can do this
                descriptor = os.open(self.target.parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        while descriptor < 0:
            # 0o666: the system removes what the user's umask forbids.
            descriptor = os.open(self.hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            self.named = True
            _lock(descriptor)
            if not self.hidden.exists():  # another writer took it for a leftover before the lock
                os.close(descriptor)
                descriptor = -1
        _lock(descriptor)
        if self.target.exists() and hasattr(os, "fchmod"):
            os.fchmod(descriptor, stat.S_IMODE(self.target.stat().st_mode))
        return descriptor

    def _publish(self) -> None:
        """Flush the file to the disk and give it its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if not self.named:
            number = self.file.fileno()
            # Python follows the link in /proc only if a folder is given, which has no other effect.
            os.link(OPEN_FILES / str(number), self.hidden, src_dir_fd=number)
            self.named = True
        if os.name == "nt":
            self.file.close()  # Windows does not rename an open file
        os.replace(self.hidden, self.target)
        self.named = False
        _flush_folder(self.target.parent)


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _check_target(path: Path, target: Path) -> None:
    if target.is_dir():
        raise IsADirectoryError(f"{path}: expected a file name, received a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {target.parent} does not exist")


def _hidden_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def _remove_leftovers(folder: Path, name: str, remove: Callable[[str], None]) -> None:
    """Remove hidden files or folders whose writers are no longer running.

    Parameters
    ----------
    folder : Path
    name : str
        Regular expression of the names that the files were to receive.
    remove : callable
    """
    pattern = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if pattern.fullmatch(entry.name) and not entry.is_symlink():
                with contextlib.suppress(OSError):  # in use
                    _remove_unlocked(entry.path, remove)


def _remove_unlocked(path: str, remove: Callable[[str], None]) -> None:
    if fcntl is None:
        remove(path)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _lock(descriptor)
        remove(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file until it is closed; raise BlockingIOError if another process has it."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _flush_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power failure, where the system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
