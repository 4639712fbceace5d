"""In which numbers the hyperfitted weights are saved, and so measured.

Training keeps fp32 masters. What is saved may be half as large, and then it is another model:
rounding to bf16 keeps 8 bits of each weight. So the weights are rounded as soon as training is
over, and everything told about the hyperfitted model is measured on what the folder holds.
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
    """What the weights are saved in.

    Args:
        choice: `train.save_dtype`.
        source: what the configuration of the source checkpoint says, if it says anything. Another
            type than those of `DTYPES` cannot be trained in and is not gone back to.
    """
    if choice != "auto":
        return DTYPES[choice]
    return source if source is not None and source in DTYPES.values() else torch.float32


@torch.no_grad()
def round_weights(model: Any, dtype: torch.dtype) -> None:
    """Give every saved tensor of `model` the value that it will be read back with; dtypes stay."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(dtype))


def rounding_line(before: float | None, after: float, dtype: torch.dtype) -> str:
    """What rounding did to the training loss, in one line.

    Args:
        before: nats per token of the last full pass in fp32; None where there was none.
        after: the same of the rounded weights.
        dtype: that they are saved in.
    """
    name = next(name for name, one in DTYPES.items() if one == dtype)
    was = "" if before is None or not math.isfinite(before) else f", {before:.4f} in fp32"
    return (
        f"note: the weights are saved in {name} (train.save_dtype); rounded to it, as all figures "
        f"below are measured, the training loss is {after:.4f}{was}"
    )
