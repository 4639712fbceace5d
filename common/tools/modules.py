"""Copy the trainable weights of a model to the CPU, by name, and load them again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name; tied parameters appear once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def copy_weights(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Copies on the CPU; the counterpart of `load_weights`."""
    return {name: p.detach().to("cpu", copy=True) for name, p in parameters.items()}


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load what `copy_weights` took from the same model; asserts that the names agree."""
    parameters = trainable_parameters(model)
    assert parameters.keys() == weights.keys(), parameters.keys() ^ weights.keys()
    for name, value in weights.items():
        parameters[name].copy_(value)
