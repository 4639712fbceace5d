"""Write files so that a crash leaves the old file or the new one, never a part of one.

At its end a run has minutes or days of work to save. Only the user can correct a full disk or a
folder without write permission, so `writing` turns these errors into one line. Other `OSError`s
pass unchanged, because they would be our bugs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError

from common.errors import UserError

_NO_FOLDER = "choose another path: a file stands where a folder is needed"
_FIXES = {
    errno.ENOSPC: "free some space or choose a folder on another disk",
    errno.EDQUOT: "free some space or choose a folder outside the quota",
    errno.EFBIG: "choose a folder on a file system that takes larger files",
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.EACCES: "change its permissions or choose another folder",
    errno.EPERM: "change its permissions or choose another folder",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "move that folder away or choose another path",
    errno.ENOTEMPTY: "move what is in that folder away or choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EILSEQ: "choose a name in the characters of that file system",
    # Errors of /proc, /sys and /dev, and of network shares.
    errno.ENOENT: "choose another folder: nothing can be made there",
    errno.EINVAL: "choose another folder: this file system refuses it",
    errno.ENXIO: "choose another path: this is a device",
    errno.ENODEV: "choose another path: this is a device",
    errno.EBUSY: "choose another path: this one is in use",
    errno.ETXTBSY: "choose another path: this one is a program that runs",
    errno.ELOOP: "choose another path: its links go round in a circle",
    errno.EOPNOTSUPP: "choose a folder on another file system",
    errno.ENOSYS: "choose a folder on another file system",
    errno.EIO: "check the disk or choose a folder on another one",
    errno.ESTALE: "mount that share again or choose another folder",
    errno.EXDEV: "choose a folder that is on one file system",
    errno.EMLINK: "choose another folder: this one is full",
}
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn "disk full", "read-only" and similar errors of writing `path` into a `UserError`.

    The safetensors library raises its own error with the system's number in the text, which is
    read too. `torch.save` to a path raises a bare `RuntimeError`, which is not: serialise to
    memory and use `atomic_write_bytes`.

    Raises:
        UserError: for errors that a user can cause; any other `OSError` passes unchanged.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _system_error(error)
        if number not in _FIXES:
            raise
        raise UserError(
            expected=f"to write {str(path)!r}",
            got=f"'{os.strerror(number)}' from the system",
            fix=_FIXES[number],
        ) from error


def atomic_write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `path` completely or not at all: temporary file, fsync, rename, fsync the folder.

    The file gets the permissions of the user's umask, unlike files of `tempfile`.

    Raises:
        UserError: the disk is full or read-only, or the user has no permission.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with writing(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        fsync(path.parent)  # so that the rename survives a power cut


def fsync(path: Path) -> None:
    """Make the system write a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of `text` as UTF-8; newlines are not converted."""
    atomic_write_bytes(path, text.encode("utf-8"))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex; cached in the process, as 100 MB take 0.1 s.

    Raises:
        OSError: the file cannot be read.
    """
    found = os.stat(path)
    return _sha256(os.path.realpath(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    """Size and time are keys of the cache: they change with the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_temporary(path: Path) -> bool:
    """Whether `path` has the name of a temporary file of an interrupted atomic write."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _system_error(error: OSError | SafetensorError) -> int:
    """The errno of `error`, or 0 if it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os error (\d+)", str(error))
    return int(found.group(1)) if found else 0
