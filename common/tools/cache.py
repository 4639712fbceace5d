"""Folders in the user's cache, for results that need to be computed once per machine.

A folder is made under a temporary name and renamed when it is complete, so a crash leaves no
partial folder. One process makes it while others wait: two that start together neither do the work
twice nor delete each other's folder. Each folder holds a list of its files and their sizes; a
folder with a missing or truncated file is made again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError
from common.tools.files import atomic_write_text, fsync, writing

VARIABLE = "HYPERFITTING_CACHE"
LISTING = "complete.json"


def cache_root() -> Path:
    """$HYPERFITTING_CACHE, else $XDG_CACHE_HOME/hyperfitting, else ~/.cache/hyperfitting."""
    own, shared = os.environ.get(VARIABLE), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(os.path.expanduser(own))
    # The XDG specification says that relative paths are ignored.
    base = shared if os.path.isabs(shared) else os.path.expanduser("~/.cache")
    return Path(base) / "hyperfitting"


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made if it is missing or damaged.

    Args:
        name: path below the cache's root; must identify the content completely.
        make: receives an empty folder and fills it.

    Raises:
        UserError: the cache cannot be written.
        Exception: whatever `make` raises; nothing is kept then.
    """
    folder = cache_root() / name
    if is_whole(folder):
        return folder
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f"{folder.name}.lock")):
        if not is_whole(folder):  # another process may have made it while this one waited
            _make(folder, make)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether every listed file of the folder exists and has its listed size."""
    try:
        sizes = json.loads((folder / LISTING).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    staged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    try:
        with writing(folder):
            staged.mkdir()
            make(staged)
            files = [path for path in staged.rglob("*") if path.is_file()]
            for path in files:
                fsync(path)
            sizes = {path.relative_to(staged).as_posix(): path.stat().st_size for path in files}
            atomic_write_text(staged / LISTING, json.dumps(sizes, indent=1) + "\n")
            if os.path.lexists(folder):
                damaged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
                os.rename(folder, damaged)
                shutil.rmtree(damaged, ignore_errors=True)
            os.rename(staged, folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; the system releases the lock of a process that dies."""
    with writing(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise UserError(
                expected="a cache folder on a file system that has locks",
                got=f"{str(lock.parent)!r} on one without",
                fix=f"set {VARIABLE} to a folder on a local disk",
            ) from error
        yield
    finally:
        os.close(descriptor)
