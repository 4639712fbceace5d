"""The dtype in which the hyperfitted weights are saved, and so measured.

Training keeps fp32 master weights. Saving in bf16 halves the size and gives another model, since
rounding keeps 8 significant bits of each weight. So the weights are rounded as soon as training has
ended, and every figure of the hyperfitted model is measured on the saved weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from common.tools.choices import SaveDtype

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def dtype_to_save(choice: SaveDtype, source: torch.dtype | None) -> torch.dtype:
    """The dtype to save the weights in.

    Args:
        choice: `train.save_dtype`.
        source: dtype in the configuration of the source checkpoint, or None. "auto" takes it only
            if it is one of `DTYPES`, else fp32.
    """
    if choice != "auto":
        return DTYPES[choice]
    return source if source is not None and source in DTYPES.values() else torch.float32


@torch.no_grad()
def round_weights(model: Any, dtype: torch.dtype) -> None:
    """Round every saved tensor of `model` to the values of `dtype`; its own dtype stays."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(dtype))


def rounding_line(before: float | None, after: float, dtype: torch.dtype) -> str:
    """One line on how rounding changed the training loss.

    Args:
        before: nats per token of the last full pass in fp32; None where there was none.
        after: the same of the rounded weights.
        dtype: of the saved weights.
    """
    name = next(name for name, one in DTYPES.items() if one == dtype)
    was = "" if before is None or not math.isfinite(before) else f", {before:.4f} in fp32"
    return (
        f"note: the weights are saved in {name} (train.save_dtype); rounded to it, as all figures "
        f"below are measured, the training loss is {after:.4f}{was}"
    )
