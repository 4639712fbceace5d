"""Updates with checkpointed blocks against updates that keep all activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tiny_families import FAMILIES, tiny_model
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from common.errors import UserError
from common.hyperfit.update import Batches, StepOptions, Updates
from common.model.activation_checkpointing import blocks_to_checkpoint
from common.model.head import attach_head
from common.model.tune import prepare_tuning
from common.tools.device import Compute
from common.tools.modules import copy_weights, disable_dropout, trainable_parameters

VOCABULARY, BLOCKS, ROWS = 40, 4, [[0, 1, 2], [3, 4, 5], [6, 0, 3]]
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def make(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SMALL, intermediate_size=24))
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**SMALL, **off))


def ids(count: int = 7) -> Tensor:
    return torch.randint(0, VOCABULARY, (count, 12), generator=torch.Generator().manual_seed(1))


def updates_of(model: Any, *, bf16: bool = False, **options: Any) -> Updates:
    disable_dropout(model)
    made = Updates(
        head=attach_head(model.train(), ids()[:2]),
        batches=Batches(sequences_NT=ids(), seed=0, batch_size=3, micro_batch_size=2),
        optimizer=torch.optim.AdamW(trainable_parameters(model).values(), weight_decay=0.0),
        compute=Compute(torch.device("cpu"), bf16=bf16),
        options=StepOptions(**options),
    )
    made.prepare()
    return made


def trained(model: Any, **options: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Weights and gradient norms after three updates."""
    updates = updates_of(model, **options)
    norms = [updates.make(rows, 1e-2).gradient_norm for rows in ROWS]
    return copy_weights(updates.parameters), norms


def assert_equal(one: Any, other: Any) -> None:
    (weights, norms), (again, norms_again) = one, other
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert torch.equal(torch.stack(norms), torch.stack(norms_again))


@contextmanager
def counted_passes(block: Any) -> Iterator[list[int]]:
    """How often the attention of a block is computed."""
    calls: list[int] = []
    attention = block.self_attn if hasattr(block, "self_attn") else block.attn
    handle = attention.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("where", "rank"), [("all", 0), ("last:50%", 0), ("last:50%", 2)])
def test_three_updates_against_kept_activations(
    kind: str, bf16: bool, where: str, rank: int
) -> None:
    plain, recomputed = (
        trained(
            prepare_tuning(make(kind), where=where, lora_rank=rank),
            bf16=bf16,
            checkpoint_activations=on,
        )
        for on in (False, True)
    )
    assert_equal(plain, recomputed)
    untouched = copy_weights(
        trainable_parameters(prepare_tuning(make(kind), where=where, lora_rank=rank))
    )
    assert any(not torch.equal(untouched[name], plain[0][name]) for name in untouched)


@pytest.mark.parametrize("family", ["gpt_neox", "gemma2", "gemma3", "opt", "mpt", "qwen3_moe"])
def test_families_against_kept_activations(family: str) -> None:
    assert family in FAMILIES
    one, other = (trained(tiny_model(family), checkpoint_activations=on) for on in (False, True))
    assert_equal(one, other)


def test_lora_on_the_plain_path() -> None:
    """There the body is the peft model itself, whose blocks lie five modules deep."""
    one, other = (
        trained(
            prepare_tuning(tiny_model("gemma2"), where="last:1", lora_rank=2),
            checkpoint_activations=on,
        )
        for on in (False, True)
    )
    assert_equal(one, other)


@pytest.mark.parametrize("where", ["all", "last:50%"])
def test_only_updates_recompute(where: str) -> None:
    for on, passes in ((False, 1), (True, 2)):
        model = prepare_tuning(make("llama"), where=where, lora_rank=0)
        updates = updates_of(model, checkpoint_activations=on)
        with counted_passes(model.model.layers[-1]) as calls:
            updates.make([0, 1], 1e-2)
            assert len(calls) == passes
            updates.full_pass([0, 1])
            model.generate(ids()[:1], max_new_tokens=2, do_sample=False)
            assert len(calls) == passes + 3
        # A frozen block keeps nothing for the backward pass and is not computed again.
        with counted_passes(model.model.layers[0]) as calls:
            updates.make([0, 1], 1e-2)
            assert len(calls) == (passes if where == "all" else 0)


def test_less_is_kept_until_the_backward_pass() -> None:
    kept: dict[bool, int] = {}
    for on in (False, True):
        updates = updates_of(make("llama"), checkpoint_activations=on)
        storages: dict[int, int] = {}

        def pack(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            updates._trained_head.hidden(ids())
        kept[on] = sum(storages.values())
    assert kept[True] < kept[False] / 4


@pytest.mark.slow
def test_compiled_blocks_are_checkpointed_too() -> None:
    plain, compiled = (
        trained(make("llama"), checkpoint_activations=True, compile_body=on) for on in (False, True)
    )
    for name, weight in plain[0].items():
        torch.testing.assert_close(compiled[0][name], weight, rtol=1e-3, atol=1e-4)


def test_a_model_without_a_list_of_blocks_is_refused() -> None:
    model = make("llama")
    model.config.num_hidden_layers = 3
    with pytest.raises(UserError, match="train.checkpoint_activations; got LlamaForCausalLM"):
        blocks_to_checkpoint(model)
