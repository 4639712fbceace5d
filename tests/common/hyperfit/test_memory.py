"""The memory estimate against what a backward pass really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaForCausalLM, LlamaModel

from common.hyperfit.memory import (
    BYTES_PER_GRADIENT,
    BYTES_PER_WEIGHT,
    GIB,
    KEPT_PER_BLOCK,
    training_gib,
)
from common.model.tune import prepare_tuning
from common.tools.device import Compute


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


def on_meta(model_class: type[Any], options: Any) -> Any:
    with torch.device("meta"):
        return model_class(options)


def state_bytes(model: torch.nn.Module) -> int:
    """Weights and moments."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size * (BYTES_PER_WEIGHT + 8 * trained) for size, trained in sizes)


def gpt2() -> GPT2Config:
    return GPT2Config(vocab_size=16, n_embd=64, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("model_class", [LlamaModel, GPT2Model])
def test_activations_against_what_autograd_saves(model_class: type[Any], bf16: bool) -> None:
    options = config(6) if model_class is LlamaModel else gpt2()
    ids_BP = torch.zeros(8, 511, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        kept = kept_bytes(model_class(options).eval(), ids_BP)
    shape = on_meta(model_class, options)
    estimated = training_gib(shape, 8, 512, compute=Compute(torch.device("cpu"), bf16=bf16)) * GIB
    assert estimated - state_bytes(shape) == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize("rank", [0, 4])
def test_frozen_blocks_keep_nothing_but_what_enters_the_first_trained_one(rank: int) -> None:
    def tuned(model: Any) -> Any:
        return prepare_tuning(model, where="last:2", lora_rank=rank)

    real = tuned(LlamaForCausalLM(config(6)))
    decoder = real.get_base_model().model if rank else real.model
    kept = kept_bytes(decoder, torch.zeros(8, 511, dtype=torch.int64))
    shape = tuned(on_meta(LlamaForCausalLM, config(6)))
    for sequences in (0, 1000):
        estimated = training_gib(shape, 8, 512, sequences=sequences) * GIB - state_bytes(shape)
        loss = 3 * 512 * 16 * 4 + 8 * 511 * 128 * 4  # logits, exponentials, products; states
        expected = kept + loss + sequences * 511 * 128 * 4
        assert estimated == pytest.approx(expected, rel=0.01)


def test_checkpointed_blocks_keep_their_inputs() -> None:
    shape = on_meta(LlamaModel, config(6))
    gib = training_gib(shape, 8, 512, checkpoint_activations=True)
    inputs = 6 * 8 * 511 * 128 * 4
    # The weights' gradients and one block's activations, near the end, are more than the inputs.
    one_block = training_gib(shape, 8, 512) * GIB - state_bytes(shape)
    gradients = BYTES_PER_GRADIENT * sum(p.numel() for p in shape.parameters())
    assert gib * GIB == state_bytes(shape) + max(inputs, gradients + one_block // 6)


def test_summed_passes_hold_gradients_and_activations_together() -> None:
    shape = on_meta(LlamaModel, config(6))
    gradients = BYTES_PER_GRADIENT * sum(p.numel() for p in shape.parameters())
    once, summed = (training_gib(shape, 8, 512, batch=batch) * GIB for batch in (8, 16))
    assert summed - once == gradients


def test_a_model_that_cannot_be_run_on_shapes_is_estimated_by_its_size() -> None:
    shape = on_meta(LlamaModel, config(6))
    traced = training_gib(shape, 8, 512) * GIB - state_bytes(shape)
    shape.forward = lambda **_: (_ for _ in ()).throw(RuntimeError("decides by values"))
    guessed = training_gib(shape, 8, 512) * GIB - state_bytes(shape)
    assert guessed == KEPT_PER_BLOCK * 6 * 8 * 511 * 128 * 4
    assert traced < guessed < 2 * traced


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
