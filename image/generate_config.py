"""Options of `python -m image.generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from common.tools.ranges import Count, Range, Seed


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Options of `python -m image.generate`."""

    model: str = "embedded"
    """The embedded transformer, a checkpoint folder, or a hub id (ImageGPT)."""
    tokenizer: str | None = None
    """Image tokenizer: embedded, a folder, or a hub id; null is the one that belongs to model."""
    images: str = "embedded:vignettes"
    """Images to complete: embedded:vignettes, a folder, cifar10, fashion-mnist or hub:..."""
    root: str = "data"
    """Where cifar10 and fashion-mnist are kept; fetched there once."""
    count: Count = 12
    """How many images."""
    prompt_share: Annotated[float, Range(low=0, high=1, below=True)] = 0.25
    """Share of an image's codes that is the prompt, from the top; 0 is an empty prompt."""
    label: int | None = None
    """Number of the class to generate: class-conditional models need it, others refuse it."""
    method: Literal["greedy", "sampled"] = "greedy"
    """greedy, or sampling with the three options below."""
    top_p: float = 0.9
    """Sampling: nucleus mass."""
    temperature: float = 0.7
    """Sampling: temperature."""
    top_k: int = 50
    """Sampling: draw from so many codes at most; 0 is off."""
    seed: Seed = 0
    """Seed of the sampling and of the choice of images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: str = "completions.png"
    """The picture to write."""
    overwrite: bool = False
    """Replace the picture if it exists."""
    dry_run: bool = False
    """Print sizes, load no weights of the transformer."""
    json: bool = False
    """Print one JSON object: the codes of every image."""
