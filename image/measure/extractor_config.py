"""Options of `python -m image.extractor`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from common.errors import UserError
from common.tools.options import require
from common.tools.ranges import Count, NotNegative, Positive, Range, Seed, at_least, between
from common.tools.values import check_values
from image.config import MOST_SIZE

LABEL = re.compile(r"[a-z0-9._-]+")
MOST_WIDTH = 2048  # 300 MiB for a block


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig:
    """Options of `python -m image.extractor`.

    A source is a folder with one sub-folder of images per class, embedded:vignettes, cifar10,
    fashion-mnist, or hub:OWNER/NAME[:SPLIT].
    """

    data: str | None = None
    """Source of the training images: a folder with one sub-folder per class, embedded:vignettes,
    cifar10, fashion-mnist, or hub:OWNER/NAME[:SPLIT]."""
    heldout: str | None = None
    """Source of other images of the same classes, to measure the accuracy; null is the held-out
    part of data."""
    root: str = "data"
    """Folder for cifar10 and fashion-mnist, which are downloaded once."""
    count: Count = 50_000
    """Training images."""
    heldout_count: Count = 10_000
    """Images to measure on."""
    out: str = "runs/image/extractor"
    """Output folder."""
    name: str = "cifar-net"
    """Name of the network in metrics, as in fid[cifar-net]."""
    seed: Seed = 0
    """Seed of the selection and order of the images, their augmentation and the weights."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    dry_run: bool = False
    """Read the images and print the size and the updates; train nothing."""
    json: bool = False
    """Print the result as JSON on standard output."""
    size: Annotated[int, between(8, MOST_SIZE)] = 32
    """Height and width of an image in pixels."""
    epochs: Count = 10
    """Passes over the training images."""
    batch_size: Annotated[int, at_least(2)] = 128
    """Images per update."""
    learning_rate: Positive = 0.2
    """Peak learning rate of SGD with Nesterov momentum."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of SGD."""
    label_smoothing: Annotated[float, Range(low=0, high=1, below=True)] = 0.05
    """Share of the target that is spread over all classes. A large share makes the features less
    distinct."""
    stem_width: Annotated[int, between(1, MOST_WIDTH)] = 48
    """Channels of the first convolution."""
    widths: tuple[Annotated[int, between(8, MOST_WIDTH)], ...] = (48, 96, 192)
    """Channels of the stages, multiples of 8. The last stage gives the features."""
    log_every: Count = 20
    """Updates between two lines of history."""


def check_ranges(config: ExtractorConfig) -> None:
    """Check the options before any work.

    Raises:
        UserError: an option is missing or out of range; the message names it.
    """
    if config.data is None:
        raise UserError(
            expected="--data SOURCE",
            got="nothing",
            fix="pass --data a folder with one sub-folder of images per class",
        )
    check_values(config)
    batch, count, widths = config.batch_size, config.count, config.widths
    multiples = 2 <= len(widths) <= 8 and all(width % 8 == 0 for width in widths)
    is_label = bool(LABEL.fullmatch(config.name))
    require(
        [
            # Batch normalisation needs two.
            ("batch_size", batch, batch <= count, f"from 2 to count, {count}"),
            ("widths", widths, multiples, f"two to 8 multiples of 8, up to {MOST_WIDTH:,}"),
            ("name", config.name, is_label, "of lower-case letters, digits, '.', '_', '-'"),
        ]
    )
