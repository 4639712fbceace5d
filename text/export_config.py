"""Options of `python -m text.export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of `python -m text.export`."""

    model: str = "embedded"
    """embedded, smollm2, a checkpoint folder, a .gguf file, or a hub id of a causal LM."""
    out: str = "model.gguf"
    """The GGUF file to write; an existing file is not replaced."""
    dtype: Literal["f16", "f32"] = "f16"
    """Number format of the matrices; norms are always f32."""
    dry_run: bool = False
    """Check that the model can be written and print the size of the file; write nothing."""
