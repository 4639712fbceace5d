"""Options of `python -m image.run`: the shared ones, model and tokenizer, images and scores."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common.config import RunConfig, TrainConfig
from common.model.recipe import find_recipe
from common.report.names import Reference
from common.tools.ranges import Count, Range, at_least

DOMAIN = "image"
REFERENCE = Reference("real", "real images")
MOST_SIZE = 1024
"""Largest side of a training image in pixels: larger images have too many codes for a model."""


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """The images to train on, to complete, and to compare the completions with.

    A source is embedded:vignettes, a folder of images (with or without a folder per class),
    cifar10, fashion-mnist, or hub:OWNER/NAME[:SPLIT]. "The paper" is P1 (Carlsson et al., ICLR
    2025, arXiv 2412.04318).
    """

    train: str = "embedded:vignettes"
    """Source of the training images: embedded:vignettes, a folder, cifar10, fashion-mnist or
    hub:OWNER/NAME[:SPLIT]."""
    heldout: str | None = None
    """Source of the held-out images; null is the held-out part of train, where it has one."""
    root: str = "data"
    """Folder for cifar10 and fashion-mnist, which are downloaded once."""
    codes: str | None = None
    """Folder that caches the codes of images between runs; null computes them each time."""
    sequences: Count = 256
    """Training images, drawn by the seed (the paper: 2000)."""
    prompts: Annotated[int, at_least(2)] = 1024
    """Held-out images that are completed."""
    references: Annotated[int, at_least(2)] = 2048
    """Further held-out images, with which the completed ones are compared as a set (FID)."""
    prompt_share: Annotated[float, Range(low=0, high=1, above=True, below=True)] = 0.25
    """Share of an image's codes, from the top, that is the prompt (the paper: 0.25)."""
    prompt_loss: bool = False
    """Train on the prompt's codes as well. No model can know which of N training images begins:
    this leaves a loss of ln(N) / codes nats per code, above the target for small images."""
    class_conditional: bool = False
    """Begin each sequence with the token of the image's class; needs a transformer that was
    pretrained so."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How completed images are scored."""

    extractors: list[str] = dataclasses.field(default_factory=lambda: ["offline"])
    """Feature networks of FID, KID, precision and recall: offline, inception[:FILE] or
    timm:MODEL[@FILE]. The first also finds copies of training images."""


@dataclass(frozen=True, kw_only=True)
class ImageRunConfig(RunConfig):
    """Options of `python -m image.run`."""

    model: str = "embedded"
    """embedded, a checkpoint folder, or a hub id of an ImageGPT."""
    tokenizer: str | None = None
    """Image tokenizer: embedded, a folder, or a hub id; null is the one that model was trained
    with."""
    data: ImageDataConfig = dataclasses.field(default_factory=ImageDataConfig)
    """Images ("the paper" is Carlsson et al., arXiv 2412.04318)."""
    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    """Scores."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(batch_size=16, tune="all")
    )
    """Training ("the paper" is Carlsson et al., arXiv 2412.04318)."""

    @staticmethod
    def recipe_of(model: str) -> Path | None:
        """The options that are saved beside a model; see `common.model.recipe`."""
        return find_recipe(DOMAIN, model)
