"""Options of `python -m image.generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from common.tools.ranges import Count, Range, Seed


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Options of `python -m image.generate`."""

    model: str = "embedded"
    """embedded, a checkpoint folder, or a hub id of an ImageGPT."""
    tokenizer: str | None = None
    """Image tokenizer: embedded, a folder, or a hub id; null is the one that model was trained
    with."""
    images: str = "embedded:vignettes"
    """Images to complete: embedded:vignettes, a folder, cifar10, fashion-mnist or
    hub:OWNER/NAME[:SPLIT]."""
    root: str = "data"
    """Folder for cifar10 and fashion-mnist, which are downloaded once."""
    count: Count = 12
    """Images to complete."""
    prompt_share: Annotated[float, Range(low=0, high=1, below=True)] = 0.25
    """Share of an image's codes, from the top, that is the prompt; 0 is an empty prompt."""
    label: int | None = None
    """Number of the class to generate, which class-conditional models need and others refuse."""
    method: Literal["greedy", "sampled"] = "greedy"
    """greedy, or sampling with the three options below."""
    top_p: float = 0.9
    """Sampling: nucleus mass (top-p); 1 is off."""
    temperature: float = 0.7
    """Sampling: temperature."""
    top_k: int = 50
    """Sampling: draw from this many likeliest codes; 0 is off."""
    seed: Seed = 0
    """Seed of the sampling and of the choice of images."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    out: str = "completions.png"
    """The picture to write."""
    overwrite: bool = False
    """Replace the picture if it exists."""
    dry_run: bool = False
    """Print sizes; load no weights of the transformer."""
    json: bool = False
    """Print one JSON object with the codes of every image."""
