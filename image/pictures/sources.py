"""Where pictures come from: folders, torchvision's data sets, the hub.

A source knows the number of its pictures and the class of each, and opens one at a time. So a
selection from a large folder reads only the selected files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.errors import UserError, first_line
from common.tools.choices import Split
from common.tools.hub import load_split
from image.pictures.square import open_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TORCHVISION = {"cifar10": "CIFAR10", "fashion-mnist": "FashionMNIST"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Pictures that can be opened one by one.

    Attributes:
        name: for messages.
        count: how many pictures there are.
        picture: opens number n.
        where: what messages call number n.
        labels: class of each, or None where there are no classes.
        class_names: names of the classes.
    """

    name: str
    count: int
    picture: Callable[[int], Image.Image]
    where: Callable[[int], str]
    labels: list[int] | None = None
    class_names: tuple[str, ...] = ()


def open_folder(folder: Path) -> Source:
    """The pictures of a folder, or of its sub-folders, each of which is then a class.

    Raises:
        UserError: the folder does not exist or has no pictures, has them both in itself and in
            sub-folders, or has them deeper than in sub-folders.
    """
    check_folder(folder)
    files, folders = _listing(folder)
    pairs: list[tuple[Path, str | None]] = [(path, None) for path in files]
    for child in folders:
        inner, deeper = _listing(child)
        pairs += [(path, child.name) for path in inner]
        for grandchild in deeper:
            if _listing(grandchild)[0]:
                raise UserError(
                    expected="images in a folder, or in one folder per class",
                    got=f"images two folders down, in {grandchild}",
                    fix=f"name the folder above the classes, such as {child}",
                )
    names = sorted({name for _, name in pairs if name is not None})
    if not pairs:
        raise UserError(
            expected=f"images ({', '.join(SUFFIXES)}) in {folder}",
            got="none",
            fix="name a folder that holds some",
        )
    if files and names:
        raise UserError(
            expected="images in a folder, or in one folder per class",
            got=f"{len(files)} images in {folder} beside {len(names)} folders of images",
            fix="move them into one of these",
        )
    pairs.sort(key=lambda pair: pair[0].as_posix())
    return Source(
        name=str(folder),
        count=len(pairs),
        picture=lambda n: open_picture(pairs[n][0], str(pairs[n][0])),
        where=lambda n: str(pairs[n][0]),
        labels=[names.index(name) for _, name in pairs if name is not None] if names else None,
        class_names=tuple(names),
    )


def check_folder(folder: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        UserError: names the path.
    """
    if not os.path.isdir(folder):
        what = "a file" if os.path.exists(folder) else "which does not exist"
        raise UserError(
            expected="embedded:vignettes, a folder of images, cifar10, fashion-mnist or "
            "hub:OWNER/NAME[:SPLIT]",
            got=f"{str(folder)!r}, {what}",
            fix="correct the path",
        )


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Images and folders in `folder`, without hidden ones."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
            folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError as error:
        raise UserError(
            expected="a readable folder",
            got=f"{folder}: {error.strerror}",
            fix="check its permissions",
        ) from error
    files = [Path(entry.path) for entry in entries if entry.name.lower().endswith(SUFFIXES)]
    return files, folders


def open_torchvision(name: str, *, split: Split, root: Path) -> Source:
    """`cifar10` or `fashion-mnist`; its test split for held-out images.

    Raises:
        UserError: it is not in `root` and cannot be downloaded.
    """
    import torchvision.datasets  # the import takes a second, and few runs need it

    try:
        data: Any = getattr(torchvision.datasets, TORCHVISION[name])(
            root, train=split == "train", download=True
        )
    except (OSError, RuntimeError) as error:
        raise UserError(
            expected=f"{name} in {str(root)!r}, or a network to download it",
            got=first_line(error),
            fix=f"copy the unpacked {name} there, or use embedded:vignettes or a folder",
        ) from error
    return Source(
        name=f"{name} ({'train' if split == 'train' else 'test'})",
        count=len(data.data),
        picture=lambda n: Image.fromarray(np.asarray(data.data[n])),
        where=lambda n: f"{name} {n}",
        labels=[int(label) for label in data.targets],
        class_names=tuple(data.classes),
    )


def open_hub(name: str, *, split: Split) -> Source:
    """`OWNER/NAME[:SPLIT]`; without SPLIT, train to train on and test to hold out.

    Raises:
        UserError: the extra is missing, the hub cannot be reached, or there is no image column.
    """
    rows, repository, part = load_split(name, default="train" if split == "train" else "test")
    import datasets  # pyright: ignore[reportMissingImports]  # installed, since rows were read

    columns = dict(rows.features)
    images = [column for column, kind in columns.items() if isinstance(kind, datasets.Image)]
    classes = [column for column, kind in columns.items() if isinstance(kind, datasets.ClassLabel)]
    if not images:
        raise UserError(
            expected=f"a column of images in hub:{repository}",
            got=", ".join(columns),
            fix="choose another data set",
        )

    # Not decoded here: `open_picture` checks the size before it decodes.
    rows = rows.cast_column(images[0], datasets.Image(decode=False))

    def where(number: int) -> str:
        return f"hub:{repository}:{part} row {number}"

    def picture(number: int) -> Image.Image:
        found = rows[number][images[0]]
        if found is None:
            raise UserError(
                expected=f"an image in column {images[0]!r}",
                got=f"{where(number)} without one",
                fix="choose another split or data set",
            )
        content = Path(found["path"]) if found["bytes"] is None else found["bytes"]
        return open_picture(content, where(number))

    return Source(
        name=f"hub:{repository}:{part}",
        count=len(rows),
        picture=picture,
        where=where,
        labels=list(rows[classes[0]]) if classes else None,
        class_names=tuple(columns[classes[0]].names) if classes else (),
    )
