"""The memory estimate against what a backward pass really keeps."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from common.hyperfit.memory import BYTES_PER_TRAINED_WEIGHT, BYTES_PER_WEIGHT, GIB, training_gib


def config(layers: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=16,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )


def kept_bytes(model: torch.nn.Module, ids_BT: torch.Tensor) -> int:
    """Bytes of the distinct storages, other than weights, that autograd saves."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=ids_BT, use_cache=False).last_hidden_state
    assert output.requires_grad
    return sum(storages.values())


def test_activations_against_what_autograd_saves() -> None:
    ids_BT = torch.zeros(4, 64, dtype=torch.int64)
    measured = [kept_bytes(LlamaModel(config(layers)), ids_BT) for layers in (2, 6)]
    per_block = (measured[1] - measured[0]) / 4
    with torch.device("meta"):
        two, six = LlamaModel(config(2)), LlamaModel(config(6))
    parameters = sum(p.numel() for p in six.parameters()) - sum(p.numel() for p in two.parameters())
    estimated = (training_gib(six, 4, 64) - training_gib(two, 4, 64)) * GIB
    state = parameters * (BYTES_PER_WEIGHT + BYTES_PER_TRAINED_WEIGHT)
    estimated_per_block = (estimated - state) / 4
    # What is saved is a lower bound: temporaries come on top, and the allocator's slack.
    assert per_block < estimated_per_block < 2 * per_block


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_against_adamw(frozen: bool) -> None:
    model = LlamaModel(config(1))
    model.embed_tokens.requires_grad_(not frozen)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 4, dtype=torch.int64)).last_hidden_state.sum().backward()
    optimizer.step()
    moments = [v for s in optimizer.state.values() for k, v in s.items() if k != "step"]
    parameters = list(model.parameters())
    tensors = parameters + [p.grad for p in parameters if p.grad is not None] + moments
    assert training_gib(model, 0, 0) * GIB == sum(t.numel() * t.element_size() for t in tensors)
