"""Which files of an output folder are ours: a list to which each is added before it is made.

`--overwrite` deletes the files on this list and nothing else. A folder may hold other files of its
owner: a copied `config.yaml`, notes, another program's `model/`. So neither a file's name nor its
content makes it ours, only a line in `MANIFEST`. That file is hidden, so that copying a run's files
elsewhere does not copy the list.

A name is listed before its file is made, so a crash leaves no file of ours unlisted. An existing
file that is not listed belongs to somebody else and is moved aside first.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from common.errors import UserError
from common.tools.files import atomic_write_text, is_temporary, writing

MANIFEST = ".hyperfitting.json"
KEPT = ".kept"  # suffix of a file that was moved aside
NAMED = 3  # how many files a notice names
SCHEMA_VERSION = 1


class Manifest:
    """The list of one output folder.

    Args:
        root: the folder; the list lies in it and names files relative to it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / MANIFEST

    def exists(self) -> bool:
        """Whether the folder has a list, so is one of ours."""
        return os.path.isfile(self.path)

    def files(self) -> set[str]:
        """Listed names, relative to the folder; some of the files may not exist.

        Raises:
            UserError: the list is damaged, or names a path outside the folder.
        """
        if not self.exists():
            return set()
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            names = content["files"] if content["schema"] == SCHEMA_VERSION else None
            if not isinstance(names, list) or not all(_is_inside(name) for name in names):
                raise ValueError("other content")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                expected=f"the list of a run's files in {str(self.path)!r}",
                got="a damaged one",
                fix="remove the folder by hand, or choose another --out",
            ) from error
        return set(names)

    def begin(self, *paths: Path) -> None:
        """Start or extend the list with files that are about to be made; see `claim`."""
        self._list(paths)

    def claim(self, *paths: Path) -> None:
        """List files that are about to be made, and move aside others of these names.

        A folder without a list (a copy of a run, or one of an earlier version) gets none.

        Raises:
            UserError: the list cannot be read or written.
        """
        if self.exists():
            self._list(paths)

    @contextmanager
    def adding(self, name: str = "") -> Iterator[Path]:
        """Yield an empty folder; its content is moved below `name` of this folder at the end.

        This is for writers that choose their own file names, such as `save_pretrained`. The names
        are listed before a file is in its place, and an interruption leaves the old files intact.

        Raises:
            UserError: the disk is full or read-only, or the user has no permission.
        """
        target = self.root / name
        staged = self.root / f".{name or 'added'}.{uuid.uuid4().hex}.tmp"
        with writing(target):
            try:
                staged.mkdir()
                yield staged
                names = files_below(staged)
                self.claim(*(target / inner for inner in names))
                for inner in names:
                    (target / inner).parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(
                        staged / inner, target / inner
                    )  # `move` copies where a link leads to another disk
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    @contextmanager
    def claiming(self, name: str) -> Iterator[Callable[[], None]]:
        """Yield a function that lists the files made below `name` since the block began.

        This is for writers that choose their own names and keep their files open: trackers.
        """
        place = self.root / name
        before = set(files_below(place))

        def claim_made() -> None:
            if self.exists():
                made = set(files_below(place)) - before
                self._list((place / inner for inner in made), made=True)

        yield claim_made

    def remove_files(self, *, keep: Iterable[str] = ()) -> None:
        """Delete the listed files, then the folders that this leaves empty.

        A link in the place of a folder is moved aside and never followed.

        Args:
            keep: listed names that stay.
        """
        if not self.exists():
            return
        listed = self.files()
        with writing(self.root):
            for name in sorted(listed - set(keep)):
                folders = self._folders(name)
                link = next((folder for folder in folders if folder.is_symlink()), None)
                path = self.root / name
                if link is not None:
                    _move_aside(link)
                elif path.is_symlink() or path.is_file():
                    path.unlink()
                for folder in reversed(folders):
                    remove_leftovers(folder)
                    if folder.is_dir() and not folder.is_symlink() and not os.listdir(folder):
                        folder.rmdir()
        self._write(listed & set(keep))

    def foreign(self) -> list[str]:
        """Files in the folder, at any depth, that are not listed, in order."""
        listed = self.files() | {MANIFEST}
        return sorted(set(files_below(self.root)) - listed)

    def foreign_notice(self) -> str | None:
        """One line about the files that are not ours, or None where there are none."""
        foreign = self.foreign()
        if not foreign:
            return None
        named = ", ".join(foreign[:NAMED]) + (", ..." if len(foreign) > NAMED else "")
        return (
            f"note: files in {str(self.root)!r} that are not of a run stay, {len(foreign)} of them "
            f"({named}); one that is in the way of a new file gets {KEPT} behind its name"
        )

    def _list(self, paths: Iterable[Path], *, made: bool = False) -> None:
        """Add to the list; `made` means that the files exist and are ours."""
        names = {path.relative_to(self.root).as_posix() for path in paths}
        listed = self.files()
        new = names - listed
        if not new and self.exists():
            return
        with writing(self.root):
            for name in () if made else new:
                self._make_room(name)
        # Names of deleted files, such as old checkpoints, are dropped in folders that get new ones.
        # Not in the root, where a listed file may not have been made yet.
        grown = {PurePosixPath(name).parent for name in new} - {PurePosixPath()}
        gone = {
            name
            for name in listed
            if PurePosixPath(name).parent in grown and not os.path.lexists(self.root / name)
        }
        self._write(listed - gone | new)

    def _write(self, names: Iterable[str]) -> None:
        content = {"schema": SCHEMA_VERSION, "files": sorted(names)}
        atomic_write_text(self.path, json.dumps(content, indent=1) + "\n")

    def _folders(self, name: str) -> list[Path]:
        """The folders between the root and a listed file, outermost first."""
        return [self.root / part for part in reversed(PurePosixPath(name).parents[:-1])]

    def _make_room(self, name: str) -> None:
        """Move aside whatever is in the place of a file, or of a folder above it."""
        for folder in self._folders(name):
            if os.path.lexists(folder) and not folder.is_dir():
                _move_aside(folder)
        if os.path.lexists(self.root / name):
            _move_aside(self.root / name)


def files_below(folder: Path) -> list[str]:
    """Names, relative to `folder`, of all files and links below it; links are not followed."""
    names = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not is_temporary(Path(name))]
        found = (Path(place, name) for name in files + links)
        names += [p.relative_to(folder).as_posix() for p in found if not is_temporary(p)]
    return names


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files, known by their names, that our interrupted writes left."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for entry in folder.iterdir():
        if is_temporary(entry):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _move_aside(path: Path) -> None:
    number, aside = 1, path.with_name(path.name + KEPT)
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}{KEPT}{number}")
    path.rename(aside)


def _is_inside(name: object) -> bool:
    if not isinstance(name, str) or not name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
