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
    """Images to measure on; null is the held-out part of data."""
    root: str = "data"
    """Folder for cifar10 and fashion-mnist, which are downloaded once."""
    count: Count = 20000
    """Images to train on."""
    heldout_count: Count = 1024
    """Images to measure on."""
    size: Annotated[int, between(1, MOST_SIZE)] = 32
    """Height and width of an image in pixels."""
    out: str = "runs/image/tokenizer"
    """Output folder."""
    seed: Seed = 0
    """Seed of the weights, the selection and order of the images, and the codebook."""
    device: str = "auto"
    """auto, cpu, cuda or mps; the arithmetic is fp32 on all of them."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Continue an interrupted run in the output folder."""
    dry_run: bool = False
    """Read the images and print counts, updates and a memory estimate; train nothing."""
    json: bool = False
    """Print the result as JSON on standard output."""
    codes: Annotated[int, between(2, 2**20)] = 512
    """Codes of the codebook."""
    embed_dim: Annotated[int, between(1, 2**12)] = 8
    """Dimensions of a code."""
    channels: tuple[Annotated[int, between(1, 2**13)], ...] = (16, 24, 48)
    """Convolution channels at each resolution; each resolution is half of the one before."""
    layers_per_block: Annotated[int, between(1, 100)] = 1
    """Residual blocks at each resolution."""
    groups: Count = 1
    """Groups of group normalisation, which must divide the channels. With many groups the tokenizer
    loses colours."""
    updates: Count = 8000
    """Length of the run in updates."""
    batch_size: Count = 8
    """Images per update."""
    learning_rate: Positive = 2e-3
    """Peak learning rate."""
    warmup_updates: Annotated[int, at_least(0)] = 50
    """Updates of linear warm-up at the start; the learning rate then falls linearly to zero."""
    quantise_from: int = 1000
    """Updates that train a plain autoencoder, before the codebook starts from its encodings."""
    extractor: str | None = "offline"
    """Feature network of the reconstruction FID and the perceptual loss; null leaves both out."""
    perceptual_weight: NotNegative = 4.0
    """Weight of the perceptual loss, which sharpens edges and texture; 0 is off."""
    commitment_weight: NotNegative = 0.25
    """Weight of the commitment loss, which keeps encodings near their codes; 0 is off."""
    stability_weight: NotNegative = 2.0
    """Weight of the stability loss, which makes a decoded image encode to the same codes; 0 is
    off."""
    codebook_decay: Decay = 0.995
    """Decay rate of the moving averages that update the codebook."""
    restart_after: Count = 80
    """A code that no image uses for this many updates is replaced."""
    flip: bool = True
    """Mirror half of the training images."""
    max_gradient_norm: Positive = 1.0
    """Gradients of a larger norm are clipped to it."""
    log_every: Count = 50
    """Updates between two lines of history."""
    checkpoint_every: Count = 1000
    """Updates between checkpoints."""
    validate_every: Count = 1000
    """Updates between measurements of held-out images."""


def check_ranges(config: TokenizeConfig) -> None:
    """Check all options, with the rules between them.

    Raises:
        UserError: an option is out of range; the message names it.
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
    if latents < config.codes:  # a batch must be able to replace every code
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
