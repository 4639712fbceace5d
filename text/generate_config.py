"""Options of `python -m text.generate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.tools.ranges import Count, Seed


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Options of `python -m text.generate`."""

    model: str = "embedded"
    """embedded, smollm2, a checkpoint folder, a .gguf file, or a hub id of a causal LM."""
    prompt: str = ""
    """Text to continue, at least one token."""
    new_tokens: Count = 200
    """Most tokens to generate; the model may end the text earlier."""
    method: Literal["greedy", "top-p"] = "greedy"
    """greedy, or sampling with the three options below."""
    top_p: float = 0.9
    """Sampling: nucleus mass (top-p); 1 is off."""
    temperature: float = 0.7
    """Sampling: temperature."""
    top_k: int = 50
    """Sampling: draw from this many likeliest tokens; 0 is off."""
    seed: Seed = 0
    """Sampling: seed."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dry_run: bool = False
    """Print lengths and the size of the model; load no weights."""
    json: bool = False
    """Print one JSON object at the end, instead of the text while it is generated."""
