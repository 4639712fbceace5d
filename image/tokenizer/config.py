"""Options of `python -m image.tokenize`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from common.errors import UserError
from common.tools.options import require
from common.tools.ranges import Count, Decay, NotNegative, Positive, Seed, at_least, between
from common.tools.values import check_values
from image.config import MOST_SIZE


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig:
    """Options of `python -m image.tokenize`."""

    data: str = "embedded:vignettes"
    """Images: embedded:vignettes, a folder, cifar10, fashion-mnist or hub:OWNER/NAME[:SPLIT]."""
    heldout: str | None = None
    """Images to measure on; null is the held-out split of data."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    count: Count = 20000
    """Images to train on."""
    heldout_count: Count = 1024
    """Images to measure on."""
    size: Annotated[int, between(1, MOST_SIZE)] = 32
    """Height and width of an image in pixels."""
    out: str = "runs/image/tokenizer"
    """Output folder."""
    seed: Seed = 0
    """Seed of the weights, the data, their order and the codebook's draws."""
    device: str = "auto"
    """auto, cpu, cuda or mps; the arithmetic is fp32 on all of them."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Go on with an interrupted run."""
    dry_run: bool = False
    """Read the images, print counts, steps and a memory estimate, train nothing."""
    json: bool = False
    """Print the result as JSON on standard output."""
    codes: Annotated[int, between(2, 2**20)] = 512
    """Rows of the codebook."""
    embed_dim: Annotated[int, between(1, 2**12)] = 8
    """Width of a row."""
    channels: tuple[Annotated[int, between(1, 2**13)], ...] = (16, 24, 48)
    """Convolution channels per resolution; each step to the next halves the image."""
    layers_per_block: Annotated[int, between(1, 100)] = 1
    """Residual blocks per resolution."""
    groups: Count = 1
    """Groups of the group norms; must divide the channels. Many groups hide colours from it."""
    updates: Count = 8000
    """Length of the run."""
    batch_size: Count = 8
    """Images per update."""
    learning_rate: Positive = 2e-3
    """Peak rate."""
    warmup_updates: Annotated[int, at_least(0)] = 50
    """Linear rise at the start; the rate then falls linearly to zero."""
    quantise_from: int = 1000
    """Updates of a plain autoencoder before the codebook starts from what it encodes."""
    extractor: str | None = "offline"
    """Feature network of the reconstruction FID and the perceptual term; null leaves both out."""
    perceptual_weight: NotNegative = 4.0
    """Of the perceptual term, which brings edges and texture back; 0 is off."""
    commitment_weight: NotNegative = 0.25
    """Of the commitment term."""
    stability_weight: NotNegative = 2.0
    """Of the term that keeps codes through decoding and encoding; 0 is off."""
    codebook_decay: Decay = 0.995
    """Of the moving averages that the codebook follows."""
    restart_after: Count = 80
    """Updates without being chosen after which a code is replaced."""
    flip: bool = True
    """Mirror half of the training images."""
    max_gradient_norm: Positive = 1.0
    """Gradient clipping."""
    log_every: Count = 50
    """Updates between two lines of history."""
    checkpoint_every: Count = 1000
    """Updates between checkpoints."""
    validate_every: Count = 1000
    """Updates between held-out figures."""


def check_ranges(config: TokenizeConfig) -> None:
    """Check all options, with the rules between them.

    Raises:
        UserError: one out of range, named.
    """
    check_values(config)
    batch, count, updates = config.batch_size, config.count, config.updates
    widths, start = len(config.channels), config.quantise_from
    require(
        [
            ("batch_size", batch, batch <= count, f"at most count, {count}"),
            ("quantise_from", start, 0 <= start < updates, f"from 0 to below {updates}"),
            ("channels", config.channels, 1 <= widths <= 8, "one to 8 widths"),
        ]
    )
    grid = config.size // 2 ** (len(config.channels) - 1)
    latents = config.batch_size * grid**2
    if latents < config.codes:  # the codebook starts and restarts from those of a batch
        raise UserError(
            expected=f"a batch of at least {config.codes} latents, one for each code",
            got=f"{latents} ({config.batch_size} images of {grid} x {grid})",
            fix="raise --batch_size or lower --codes",
        )
    if config.perceptual_weight and config.extractor is None:
        raise UserError(
            expected="an extractor for the perceptual term",
            got="extractor null",
            fix="set --extractor offline, or --perceptual_weight 0",
        )
