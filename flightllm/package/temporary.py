"""Temporary folders beside a package, and what runs that were killed have left of them.

A folder is locked as long as its run lives (the lock goes with the process, however it ends), so a folder that nobody holds is
left over. It gets the name under which it can be found only after it was locked. Where folders cannot be locked (some network
file systems), nothing is ever cleaned up.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

#: folder in which a package grows; folder in which a package that is being replaced waits
GROWING, REPLACED = ".tmp", ".old"
#: name of the package in a REPLACED folder
KEPT = "package"


class TemporaryFolder:
    """A new folder `.NAME.random.SUFFIX` in `parent`, locked until `close` or the end of the process."""

    def __init__(self, parent: Path, name: str, suffix: str) -> None:
        made = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".new", dir=parent))
        try:
            self._lock = _lock(made)
            self.path = made.with_suffix(suffix)
            made.rename(self.path)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    def close(self, remove: bool = True) -> None:
        """Remove it if it is still there (and may be removed), then unlock."""
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def clean_up(target: Path, is_package: Callable[[Path], bool], files: Callable[[str], bool]) -> None:
    """Remove what runs that ended without cleaning up have left of the package `target`; give back one they moved away.

    Args:
        target: folder of the package.
        is_package: whether a folder is a package.
        files: whether a file name is one of a package; a folder that holds anything else is left alone.
    """
    for folder, suffix in _left(target):
        with _held(folder) as held:
            if not held:
                continue
            with contextlib.suppress(OSError):
                inside = [entry.name for entry in os.scandir(folder)]
                if suffix == REPLACED and inside == [KEPT] and is_package(folder / KEPT):
                    if not os.path.lexists(target):
                        (folder / KEPT).rename(target)
                    shutil.rmtree(folder, ignore_errors=True)
                elif suffix == GROWING and all(map(files, inside)):
                    shutil.rmtree(folder, ignore_errors=True)


def _left(target: Path) -> list[tuple[Path, str]]:
    """Folders with our names for `target`, and their suffixes."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}({re.escape(GROWING)}|{re.escape(REPLACED)})")
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(target.parent):
            match = pattern.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False):
                found.append((target.parent / entry.name, match[1]))
    return sorted(found)


def _lock(folder: Path) -> int | None:
    """Descriptor that holds the folder's lock; None if somebody else has it, or if there are no locks here."""
    if fcntl is None:
        return None
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether the lock of a folder, which is ours by user, could be taken."""
    fd = _lock(folder)
    try:
        yield fd is not None and os.fstat(fd).st_uid == os.geteuid()
    finally:
        if fd is not None:
            os.close(fd)
