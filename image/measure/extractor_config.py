"""Options of `python -m image.extractor`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from common.errors import UserError
from common.tools.options import require
from common.tools.values import SEED_RANGE, seed_fits
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
    """Source of the training images."""
    heldout: str | None = None
    """Source of other images of the same classes, to measure the accuracy; null is that of data."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    count: int = 50_000
    """Training images."""
    heldout_count: int = 10_000
    """Images to measure on."""
    out: str = "runs/image/extractor"
    """Output folder."""
    name: str = "cifar-net"
    """Label of its figures, as in fid[cifar-net]."""
    seed: int = 0
    """Seed of the selection, the weights, the order and the augmentation."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    dry_run: bool = False
    """Read the images, print the size and the updates, train nothing."""
    json: bool = False
    """Print the result as JSON on standard output."""
    size: int = 32
    """Height and width of the images."""
    epochs: int = 10
    """Passes over the training images."""
    batch_size: int = 128
    """Images per update."""
    learning_rate: float = 0.2
    """Peak rate of SGD with Nesterov momentum."""
    weight_decay: float = 5e-4
    """Of SGD."""
    label_smoothing: float = 0.05
    """Share of the target spread over all classes; much of it would flatten the features."""
    stem_width: int = 48
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (48, 96, 192)
    """Channels of the stages, multiples of 8; the last is the number of features."""
    log_every: int = 20
    """Updates between two lines of history."""


def check_ranges(config: ExtractorConfig) -> None:
    """Check the options before any work.

    Raises:
        UserError: one that is missing or out of range, named.
    """
    if config.data is None:
        raise UserError(
            expected="--data SOURCE", got="nothing", fix="name a folder with a folder per class"
        )
    names = ("heldout_count", "epochs", "stem_width", "log_every")
    checks = [(name, getattr(config, name) >= 1, "at least 1") for name in names]
    most, widths = config.count, config.widths
    rate, decay = config.learning_rate, config.weight_decay
    checks += [
        ("size", 8 <= config.size <= MOST_SIZE, f"from 8 to {MOST_SIZE:,}"),
        ("seed", seed_fits(config.seed), SEED_RANGE),
        ("stem_width", config.stem_width <= MOST_WIDTH, f"at most {MOST_WIDTH:,}"),
        # Batch normalisation needs two.
        ("batch_size", 2 <= config.batch_size <= most, f"from 2 to count, {most}"),
        ("learning_rate", 0 < rate < math.inf, "a positive number"),
        ("weight_decay", 0 <= decay < math.inf, "at least 0"),
        ("label_smoothing", 0 <= config.label_smoothing < 1, "in [0, 1)"),
        (
            "widths",
            2 <= len(widths) <= 8 and all(0 < w <= MOST_WIDTH and w % 8 == 0 for w in widths),
            f"two to 8 multiples of 8, up to {MOST_WIDTH:,}",
        ),
        (
            "name",
            bool(LABEL.fullmatch(config.name)),
            "of lower-case letters, digits, '.', '_', '-'",
        ),
    ]
    require((name, getattr(config, name), fits, expected) for name, fits, expected in checks)
