"""Options of `python -m image.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass

from common.pretrain_config import Heads, HiddenSize, IntermediateSize, PretrainOptions
from common.tools.ranges import Count, Positive


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(PretrainOptions):
    """Options of `python -m image.pretrain`."""

    data: str = "embedded:vignettes"
    """Images: embedded:vignettes, a folder, cifar10, fashion-mnist or hub:OWNER/NAME[:SPLIT]."""
    heldout: str | None = None
    """Images to measure on; null is the held-out part of data, where it has one. Those that are
    trained on as well are dropped."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    codes: str | None = None
    """Folder that keeps the codes of images, named by their content; null computes them anew."""
    count: Count = 20000
    """Images to train on."""
    heldout_count: Count = 512
    """Images to measure on."""
    flip: bool = False
    """Also train on the mirror image of every training image."""
    class_conditional: bool = False
    """Begin each sequence with the token of the image's class."""
    tokenizer: str = "embedded"
    """Image tokenizer: embedded, a folder, or a hub id."""
    out: str = "runs/image/base"
    """Output folder."""
    learning_rate: Positive = 1.5e-3
    """Peak rate."""
    batch_size: Count = 64
    """Images per update."""
    hidden_size: HiddenSize = 192
    """Of the model."""
    heads: Heads = 6
    """Of the model."""
    intermediate_size: IntermediateSize = 512
    """Of the model."""
