"""Training and held-out images from any kind of source, as uint8 tensors.

A selection is a prefix of one seeded permutation of the sorted pictures. So a larger selection
contains a smaller one, and the order of a file system has no effect. The embedded vignettes need no
selection: they are numbered without end, and the ranges of training and held-out numbers are
disjoint.

Shapes: N images, C channels, H W pixels, H = W = size.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.tools.choices import Split
from image.pictures.sources import (
    TORCHVISION,
    Source,
    open_folder,
    open_hub,
    open_torchvision,
)
from image.pictures.square import Squarer
from image.vignettes.render import HOURS, LEAST_SIZE, vignettes

HELDOUT_START = 10_000_000  # number of the first vignette that is held out


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of one size.

    Attributes:
        images_NCHW: (N, 3, size, size) uint8.
        labels_N: (N,) int64 indices into `class_names`, or None where there are no classes.
        class_names: names of the classes.
        source: where they come from, for messages.
        notes: what was changed in them, one line per kind of change.
    """

    images_NCHW: Tensor
    labels_N: Tensor | None
    class_names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()


def load_images(
    spec: str, *, split: Split, count: int, seed: int, size: int, root: Path
) -> LabelledImages:
    """Read `count` images, in an order drawn by the seed.

    Args:
        spec: embedded:vignettes, a folder (of images, or of one folder per class), cifar10,
            fashion-mnist, or hub:OWNER/NAME[:SPLIT] (needs the `hub` extra).
        split: which part of cifar10, fashion-mnist, the vignettes, or a hub data set named
            without a split. A folder has no parts: name another one to hold out.
        count: how many images.
        seed: which images; for vignettes it is the seed of the renderer.
        size: side in pixels; images of other sizes are scaled and cut, and a note says so.
        root: folder of cifar10 and fashion-mnist, to which they are downloaded if missing.

    Raises:
        UserError: an unknown source, one that cannot be read, too few images, or an image that
            is broken or of a mode that has no plain RGB form.
    """
    kind, _, name = spec.partition(":")
    if kind == "embedded":
        return _load_vignettes(name, split, count, seed, size)
    if kind == "hub":
        return _select(open_hub(name, split=split), count, seed, size)
    if spec in TORCHVISION:
        return _select(open_torchvision(spec, split=split, root=root), count, seed, size)
    return _select(open_folder(Path(os.path.expanduser(spec))), count, seed, size)


def refuse_overlap(train: LabelledImages, heldout: LabelledImages) -> None:
    """Refuse held-out images that equal training images, pixel for pixel.

    Raises:
        UserError: names their number.
    """
    shared = int(_shared(train, heldout).sum())
    if shared:
        raise UserError(
            expected="held-out images that are not trained on",
            got=f"{shared:,} of {len(heldout.images_NCHW):,} from {heldout.source} that equal a "
            f"training image from {train.source} pixel for pixel",
            fix="name other held-out images",
        )


def drop_shared(train: LabelledImages, heldout: LabelledImages) -> LabelledImages:
    """`heldout` without the images that are training images; a note says how many.

    For published data sets, some of which repeat training images in their test split.

    Raises:
        UserError: none is left.
    """
    keep_N = ~_shared(train, heldout)
    if bool(keep_N.all()):
        return heldout
    if not bool(keep_N.any()):
        refuse_overlap(train, heldout)
    dropped = int((~keep_N).sum())
    return dataclasses.replace(
        heldout,
        images_NCHW=heldout.images_NCHW[keep_N],
        labels_N=None if heldout.labels_N is None else heldout.labels_N[keep_N],
        notes=(*heldout.notes, f"{dropped:,} held-out images are training images and were dropped"),
    )


def _shared(train: LabelledImages, heldout: LabelledImages) -> Tensor:
    """(N,) bool, true for held-out images that are training images."""
    known = set(map(_digest, train.images_NCHW.numpy()))
    return torch.tensor([_digest(image) in known for image in heldout.images_NCHW.numpy()])


def _digest(image_CHW: np.ndarray) -> bytes:
    return blake2b(image_CHW.tobytes(), digest_size=16).digest()


def _load_vignettes(name: str, split: Split, count: int, seed: int, size: int) -> LabelledImages:
    if name != "vignettes":
        raise UserError(
            expected="embedded:vignettes", got=f"embedded:{name}", fix="there is no other"
        )
    if size < LEAST_SIZE:
        raise UserError(
            expected=f"vignettes of at least {LEAST_SIZE} pixels on a side",
            got=f"{size}",
            fix="use a larger size, or other images",
        )
    if count > HELDOUT_START:
        raise UserError(
            expected=f"at most {HELDOUT_START:,} vignettes",
            got=f"{count:,}",
            fix="ask for fewer: those after them are held out",
        )
    start = 0 if split == "train" else HELDOUT_START
    images_NCHW, labels_N, _ = vignettes(start, count, seed=seed, size=size)
    return LabelledImages(
        images_NCHW=images_NCHW,
        labels_N=labels_N,
        class_names=HOURS,
        source=f"embedded:vignettes {start:,} to {start + count - 1:,}, seed {seed}",
    )


def _select(source: Source, count: int, seed: int, size: int) -> LabelledImages:
    """`count` pictures of a source, made square."""
    if count > source.count:
        raise UserError(
            expected=f"{count:,} images in {source.name}",
            got=f"{source.count:,}",
            fix="ask for fewer or name a larger source",
        )
    order = torch.randperm(source.count, generator=torch.Generator().manual_seed(seed))
    rows = order[:count].tolist()
    square = Squarer(size)
    pixels = np.empty((count, 3, size, size), np.uint8)
    for at, row in enumerate(rows):
        pixels[at] = square(source.picture(row), source.where(row))
    labels = source.labels
    return LabelledImages(
        images_NCHW=torch.from_numpy(pixels),
        labels_N=None if labels is None else torch.tensor([labels[row] for row in rows]),
        class_names=source.class_names,
        source=source.name,
        notes=square.notes(),
    )
