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
    """Images to measure on; null is the held-out part of data, where it has one. Images that are
    also trained on are left out."""
    root: str = "data"
    """Folder for cifar10 and fashion-mnist, which are downloaded once."""
    codes: str | None = None
    """Folder that caches the codes of images between runs; null computes them each time."""
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
    """Peak learning rate."""
    batch_size: Count = 64
    """Images per update."""
    hidden_size: HiddenSize = 192
    """Hidden size of the model."""
    heads: Heads = 6
    """Attention heads of the model."""
    intermediate_size: IntermediateSize = 512
    """Width of the MLPs of the model."""
