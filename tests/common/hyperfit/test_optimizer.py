"""AdamW with 8-bit moments: it learns, resumes to the bit, and takes the memory that is told.

The tests that make one are skipped where torchao or a C++ compiler is missing.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import common.hyperfit.optimizer
from common.config import RunConfig, TrainConfig, check_before_reading
from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.optimizer import BYTES_OF_MOMENTS, check_compiler
from common.hyperfit.update import Batches, StepOptions, Updates
from common.model.head import attach_head
from common.tools.device import Compute
from common.tools.modules import copy_weights, load_weights
from common.training import make_optimizer

needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None or shutil.which("g++") is None,
    reason="needs torchao (extra low-memory) and a C++ compiler",
)
OPTIONS = TrainConfig(optimizer="adamw8bit")


def updates() -> Updates:
    """Of a model whose matrices have 4096 numbers, from which on moments take one byte."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            tie_word_embeddings=True,
        )
    ).train()
    ids_NT = torch.randint(0, 64, (6, 16), generator=torch.Generator().manual_seed(1))
    made = Updates(
        head=attach_head(model, ids_NT[:2]),
        batches=Batches(sequences_NT=ids_NT, seed=0, batch_size=6, micro_batch_size=6),
        optimizer=make_optimizer(model, OPTIONS, 0.0),
        compute=Compute(torch.device("cpu"), bf16=False),
        options=StepOptions(),
    )
    made.prepare()
    return made


def steps(of: Updates, count: int) -> list[Tensor]:
    return [of.make(range(6), 1e-2).loss for _ in range(count)]


@needs_torchao
def test_learns_and_resumes_to_the_bit(tmp_path: Path) -> None:
    first = updates()
    losses = steps(first, 20)
    assert losses[-1] < 0.5 * losses[0]
    Checkpoints(tmp_path).save(
        20,
        {"weights": copy_weights(first.parameters), "optimizer": first.optimizer.state_dict()},
    )
    on = steps(first, 3)

    state, notices = Checkpoints(tmp_path).load_newest()
    resumed = updates()
    load_weights(resumed.head.model, state["weights"])
    resumed.optimizer.load_state_dict(state["optimizer"])
    assert not notices and torch.equal(torch.stack(steps(resumed, 3)), torch.stack(on))
    same = copy_weights(resumed.parameters)
    assert all(torch.equal(same[n], w) for n, w in copy_weights(first.parameters).items())


@needs_torchao
def test_the_range_test_is_undone() -> None:
    undisturbed, disturbed = updates(), updates()
    for both in (undisturbed, disturbed):
        steps(both, 2)
    with disturbed.undone():
        steps(disturbed, 3)
    assert torch.equal(torch.stack(steps(disturbed, 2)), torch.stack(steps(undisturbed, 2)))


@needs_torchao
def test_moments_take_the_bytes_that_are_told() -> None:
    made = updates()
    steps(made, 1)
    for parameter, state in made.optimizer.state.items():
        if parameter.numel() < 4096:
            continue
        stored = sum(
            inner.nbytes
            for moment in (state["exp_avg"], state["exp_avg_sq"])
            for inner in (moment.codes, moment.scale)
        )
        assert stored == BYTES_OF_MOMENTS["adamw8bit"] * parameter.numel()
        assert parameter.dtype == torch.float32


def test_a_missing_package_is_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> Any:
        return None

    check_before_reading(RunConfig())
    monkeypatch.setattr(common.hyperfit.optimizer.importlib.util, "find_spec", missing)
    with pytest.raises(UserError, match=r'torchao.*pip install "hyperfitting\[low-memory\]"'):
        check_before_reading(RunConfig(train=OPTIONS))
    check_before_reading(RunConfig())


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.hyperfit.optimizer.shutil, "which", lambda _: None)
    check_compiler("adamw", torch.device("cpu"))
    check_compiler("adamw8bit", torch.device("cuda"))
    with pytest.raises(UserError, match="a C\\+\\+ compiler for train.optimizer"):
        check_compiler("adamw8bit", torch.device("cpu"))
