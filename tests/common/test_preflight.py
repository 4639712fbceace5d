"""What is refused or told before a weight is touched."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import common.config
import common.hyperfit.disk
from common.config import MeasureConfig, RunConfig, ScheduleConfig, TrainConfig
from common.errors import UserError
from common.preflight import check_finite, loss_floor, preflight


def naive_floor(rows: list[list[int]]) -> float:
    """Loss of the best predictor, which knows how often each token follows each prefix."""
    nats, tokens = 0.0, 0
    for position in range(1, len(rows[0])):
        follows = Counter((tuple(row[:position]), row[position]) for row in rows)
        prefixes = Counter(tuple(row[:position]) for row in rows)
        for row in rows:
            prefix = tuple(row[:position])
            nats -= math.log(follows[prefix, row[position]] / prefixes[prefix])
            tokens += 1
    return nats / tokens


def test_floor_against_counted_frequencies() -> None:
    generator = torch.Generator().manual_seed(0)
    for vocabulary, count in product((2, 3, 50), (1, 7, 40)):
        ids_NT = torch.randint(vocabulary, (count, 5), generator=generator)
        assert loss_floor(ids_NT) == pytest.approx(naive_floor(ids_NT.tolist()), abs=1e-12)
    one_beginning = torch.cat([torch.zeros(8, 1), torch.arange(8)[:, None], torch.ones(8, 9)], 1)
    assert loss_floor(one_beginning) == pytest.approx(math.log(8) / 10)


def shape(**changed: Any) -> Any:
    options: dict[str, Any] = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16}
    options |= {"num_hidden_layers": 4, "num_attention_heads": 2, "tie_word_embeddings": False}
    config = LlamaConfig(**(options | changed))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def config(**changed: Any) -> RunConfig:
    train = {"compile": "off", "tune": "all", "batch_size": 8} | changed.pop("train", {})
    return RunConfig(train=TrainConfig(**train), device="cpu", **changed)


class Room(NamedTuple):
    """What `shutil.disk_usage` gives, as far as it is read."""

    free: int


IDS = torch.arange(24 * 10).reshape(24, 10) % 50


def test_lines_tell_what_is_trained_and_how_long() -> None:
    model = shape()
    every = sum(p.numel() for p in model.parameters())
    (line,) = preflight(config(schedule=ScheduleConfig(max_epochs=4)), model, IDS)
    assert line.startswith(f"{every:,} parameters, {every:,} trained; at most 12 updates of 8 ")
    last = sum(p.numel() for p in shape().model.layers[3].parameters()) + 16  # and the norm
    (line,) = preflight(config(train={"tune": "last:1"}), shape(), IDS)
    assert f"{every:,} parameters, {last:,} trained" in line
    (line,) = preflight(config(train={"tune": "last:1", "lora_rank": 2}), shape(), IDS)
    assert f"{every:,} parameters, {2 * 7 * 2 * 16:,} trained" in line


def test_disk_is_told_by_what_is_trained_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(**train: Any) -> tuple[float, float]:
        big = shape(hidden_size=2048, intermediate_size=8192, vocab_size=32000)
        (line,) = preflight(config(train=train), big, IDS)
        peak, final = re.findall(r"([0-9.]+) GB", line)
        return float(peak), float(final)

    # 0.4 G weights: three checkpoints of 16 bytes each, one more than are kept; then the weights.
    monkeypatch.setattr(common.config, "check_optimizer", lambda _: None)  # installed or not
    monkeypatch.setattr(common.hyperfit.disk.shutil, "disk_usage", lambda _: Room(10**12))
    peak, final = told(save_dtype="fp32")
    weights = final / 4
    assert 0.3 < weights < 0.5 and peak == pytest.approx(48 * weights, abs=2)
    assert told(save_dtype="auto") == told(save_dtype="fp32") == (peak, final)  # no dtype is named
    assert told(save_dtype="bf16")[1] == pytest.approx(final / 2, abs=0.1)
    assert told(keep_checkpoints=True)[1] == pytest.approx(36 * weights, abs=2)
    assert told(tune="last:1")[0] < 0.5 * peak
    assert told(optimizer="adamw8bit")[0] == pytest.approx(peak * 10 / 16, rel=0.05)
    monkeypatch.setattr(common.hyperfit.disk.shutil, "disk_usage", lambda _: Room(5 * 10**9))
    with pytest.raises(UserError, match=r"room for the run.*got 5\.0 GB free; free some space"):
        told()


def test_a_head_that_is_tied_is_told() -> None:
    untied = preflight(config(train={"tune": "head"}), shape(), IDS)
    told = preflight(config(train={"tune": "head"}), shape(tie_word_embeddings=True), IDS)
    assert len(told) == len(untied) + 1 and "tied to the embeddings" in told[1]


def test_a_share_of_the_blocks_is_told() -> None:
    lines = preflight(config(train={"tune": "last:50%"}), shape(), IDS)
    assert lines[1] == "train.tune last:50%: 2 of 4 blocks"


def test_frozen_weights_need_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.config, "check_optimizer", lambda _: None)  # installed or not

    def gib(**train: Any) -> float:
        big = {"hidden_size": 2048, "intermediate_size": 8192, "vocab_size": 32000}
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                LlamaConfig(**big, num_hidden_layers=10, num_attention_heads=16)
            )
        (line,) = preflight(config(train=train), model, IDS)
        return float(line.split("about ")[1].split(" GiB")[0])

    full, late = gib(), gib(tune="last:5", lora_rank=8)
    assert 10 < full < 13  # 0.8 G weights of 16 bytes
    assert gib(optimizer="adamw8bit") == pytest.approx(full * 10 / 16, rel=0.05)
    assert full / 4.5 < late < full / 3  # the weights alone are a quarter


def test_checkpointed_activations_need_less_memory_and_a_list_of_blocks() -> None:
    def gib(**train: Any) -> float:
        big = shape(hidden_size=256, intermediate_size=1024, num_hidden_layers=8)
        (line,) = preflight(config(train=train), big, torch.arange(24 * 400).reshape(24, 400) % 50)
        return float(line.split("about ")[1].split(" GiB")[0])

    assert gib(checkpoint_activations=True) < gib(micro_batch_size=4) < gib()
    odd = shape()
    odd.config.num_hidden_layers = 3
    with pytest.raises(UserError, match="train.checkpoint_activations"):
        preflight(config(train={"checkpoint_activations": True}), odd, IDS)


def test_a_target_below_the_floor_is_told_and_only_that() -> None:
    alike = IDS.clone()
    alike[:, 0] = 0
    floor = naive_floor(alike.tolist())
    low = ScheduleConfig(target_loss=floor * 0.99, knee=1.0)
    high = ScheduleConfig(target_loss=floor * 1.01, knee=1.0)
    notes = preflight(config(schedule=low), shape(), alike)[1:]
    assert len(notes) == 1 and f"leaves {floor:.4f} nats per token" in notes[0]
    assert len(preflight(config(schedule=high), shape(), alike)) == 1
    fixed = dataclasses.replace(low, mode="fixed", fixed_updates=10)
    assert len(preflight(config(schedule=fixed), shape(), alike)) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"device": "tpu"}, "change --device"),
        ({"train": {"batch_size": 25}}, "train.batch_size"),
        ({"train": {"tune": "first:5"}}, "K up to 4"),
        ({"measure": MeasureConfig(blocker_match=10)}, "measure.blocker_match from 1 to 9"),
        ({"measure": MeasureConfig(blocker_match=0)}, "measure.blocker_match"),
        ({"schedule": ScheduleConfig(target_loss=-1.0)}, "schedule.target_loss"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    device = changed.pop("device", "cpu")
    options = dataclasses.replace(config(**changed), device=device)
    with pytest.raises(UserError, match=message):
        preflight(options, shape(), IDS)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_check_finite(bad: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    check_finite(model)
    with torch.no_grad():
        model[1].bias[0] = bad
    with pytest.raises(UserError, match=r"NaN or infinity in 1\.bias"):
        check_finite(model)
