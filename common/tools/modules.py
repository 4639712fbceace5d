"""What any module can be asked: its trainable weights, eval mode for a while, its dropout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


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


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Dropout and the like off inside the block; each module's own mode is restored after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def active_dropout(model: nn.Module) -> list[tuple[object, str]]:
    """(owner, attribute) of every dropout rate above 0.

    Rates sit in `nn.Dropout` modules, in plain attributes of a block that functional dropout reads
    (`attention_dropout`, `layerdrop`, `drop_path_rate`), and in configurations.
    """
    owners: list[object] = []
    for module in model.modules():
        owners.append(module)
        config = getattr(module, "config", None)
        if isinstance(config, PretrainedConfig):
            owners += [config, config.get_text_config()]
    active: list[tuple[object, str]] = []
    # By identity: blocks share their model's configuration.
    for owner in {id(owner): owner for owner in owners}.values():
        if isinstance(owner, nn.modules.dropout._DropoutNd) and owner.p > 0:
            active.append((owner, "p"))
        named = ((name, value) for name, value in vars(owner).items() if "drop" in name)
        active += [(owner, name) for name, rate in named if isinstance(rate, float) and rate > 0]
    return active


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout rate to zero, in the modules and in the configuration.

    Zero loss is out of reach while dropout perturbs the training pass. The configuration follows
    the modules, so that a saved checkpoint stays without.
    """
    for owner, name in active_dropout(model):
        setattr(owner, name, 0.0)
