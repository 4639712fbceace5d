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
"""Largest side in pixels of a training image: larger ones make too many codes to be of use."""


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """The images to train on, to complete, and to compare the completions with.

    A source is embedded:vignettes, a folder of images (with or without a folder per class),
    cifar10, fashion-mnist, or hub:OWNER/NAME[:SPLIT]. "The paper" is Carlsson et al., ICLR 2025
    (arXiv 2412.04318).
    """

    train: str = "embedded:vignettes"
    """Source of the training images."""
    heldout: str | None = None
    """Source of the held-out images; null is the held-out part of train, where it has one."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    codes: str | None = None
    """Folder that keeps the codes of images, named by their content; null computes them anew."""
    sequences: Count = 256
    """Training images, drawn by the seed (the paper: 2000)."""
    prompts: Annotated[int, at_least(2)] = 1024
    """Held-out images that are completed."""
    references: Annotated[int, at_least(2)] = 2048
    """Further held-out images, which the completed ones are compared with as a set (FID)."""
    prompt_share: Annotated[float, Range(low=0, high=1, above=True, below=True)] = 0.25
    """Share of an image's codes that is given, from the top (the paper: 0.25)."""
    prompt_loss: bool = False
    """Whether the given codes are trained on as well. No model can know which image begins: N of
    them leave ln(N) / codes nats per code, above the target loss for small images."""
    class_conditional: bool = False
    """Begin with the token of the image's class, for a transformer pretrained so."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How completed images are scored."""

    extractors: list[str] = dataclasses.field(default_factory=lambda: ["offline"])
    """Feature networks of FID, KID, precision and recall: offline, inception[:FILE],
    timm:MODEL[@FILE]. Copies are looked for with the first."""


@dataclass(frozen=True, kw_only=True)
class ImageRunConfig(RunConfig):
    """Options of `python -m image.run`."""

    model: str = "embedded"
    """The embedded transformer, a checkpoint folder, or a hub id (ImageGPT)."""
    tokenizer: str | None = None
    """Image tokenizer: embedded, a folder, or a hub id; null is the one that belongs to model."""
    data: ImageDataConfig = dataclasses.field(default_factory=ImageDataConfig)
    """Images."""
    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    """Scores."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(batch_size=16, tune="all")
    )
    """Training."""

    @staticmethod
    def recipe_of(model: str) -> Path | None:
        """The options that are saved beside a model; see `common.model.recipe`."""
        return find_recipe(DOMAIN, model)
