"""The dtype of arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel


def compute_dtype(of: Tensor | PreTrainedModel) -> torch.dtype:
    """Dtype of products with a tensor or in a model: autocast's where it is on, else its own."""
    kind = of.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else of.dtype
