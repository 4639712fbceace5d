"""Options of `python -m image.tokenize`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.errors import UserError
from common.tools.options import require
from common.tools.values import SEED_RANGE, seed_fits
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
    count: int = 20000
    """Images to train on."""
    heldout_count: int = 1024
    """Images to measure on."""
    size: int = 32
    """Height and width of an image in pixels."""
    out: str = "runs/image/tokenizer"
    """Output folder."""
    seed: int = 0
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
    codes: int = 512
    """Rows of the codebook."""
    embed_dim: int = 8
    """Width of a row."""
    channels: tuple[int, ...] = (16, 24, 48)
    """Convolution channels per resolution; each step to the next halves the image."""
    layers_per_block: int = 1
    """Residual blocks per resolution."""
    groups: int = 1
    """Groups of the group norms; must divide the channels. Many groups hide colours from it."""
    updates: int = 8000
    """Length of the run."""
    batch_size: int = 8
    """Images per update."""
    learning_rate: float = 2e-3
    """Peak rate."""
    warmup_updates: int = 50
    """Linear rise at the start; the rate then falls linearly to zero."""
    quantise_from: int = 1000
    """Updates of a plain autoencoder before the codebook starts from what it encodes."""
    extractor: str | None = "offline"
    """Feature network of the reconstruction FID and the perceptual term; null leaves both out."""
    perceptual_weight: float = 4.0
    """Of the perceptual term, which brings edges and texture back; 0 is off."""
    commitment_weight: float = 0.25
    """Of the commitment term."""
    stability_weight: float = 2.0
    """Of the term that keeps codes through decoding and encoding; 0 is off."""
    codebook_decay: float = 0.995
    """Of the moving averages that the codebook follows."""
    restart_after: int = 80
    """Updates without being chosen after which a code is replaced."""
    flip: bool = True
    """Mirror half of the training images."""
    max_gradient_norm: float = 1.0
    """Gradient clipping."""
    log_every: int = 50
    """Updates between two lines of history."""
    checkpoint_every: int = 1000
    """Updates between checkpoints."""
    validate_every: int = 1000
    """Updates between held-out figures."""


def check_ranges(config: TokenizeConfig) -> None:
    """Check the numbers that no constructor checks.

    Raises:
        UserError: one out of range, named.
    """
    least_one = ("count", "heldout_count", "size", "embed_dim", "layers_per_block", "groups")
    least_one += ("batch_size", "restart_after", "log_every", "checkpoint_every", "validate_every")
    checks = [(name, getattr(config, name) >= 1, "at least 1") for name in least_one]
    for name in ("perceptual_weight", "commitment_weight", "stability_weight"):
        fits = 0 <= getattr(config, name) < math.inf
        checks.append((name, fits, "a finite number of at least 0"))
    channels = config.channels
    most = {
        "codes": 2**20,
        "embed_dim": 2**12,
        "layers_per_block": 100,
        "size": MOST_SIZE,
    }
    checks += [(n, getattr(config, n) <= bound, f"at most {bound:,}") for n, bound in most.items()]
    updates, decay, clip = config.updates, config.codebook_decay, config.max_gradient_norm
    checks += [
        ("codes", config.codes >= 2, "at least 2"),
        ("batch_size", config.batch_size <= config.count, f"at most count, {config.count}"),
        ("quantise_from", 0 <= config.quantise_from < updates, f"from 0 to below {updates}"),
        ("codebook_decay", 0 <= decay < 1, "in [0, 1)"),
        (
            "channels",
            1 <= len(channels) <= 8 and all(1 <= width <= 2**13 for width in channels),
            "one to 8 widths from 1 to 8,192",
        ),
        ("seed", seed_fits(config.seed), SEED_RANGE),
        ("max_gradient_norm", 0 < clip < math.inf, "a positive number"),
    ]
    require((name, getattr(config, name), fits, expected) for name, fits, expected in checks)
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
