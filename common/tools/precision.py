"""What arithmetic is done in."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel


def compute_dtype(of: Tensor | PreTrainedModel) -> torch.dtype:
    """What products with a tensor or in a model are computed in; autocast wins over its dtype."""
    kind = of.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else of.dtype
