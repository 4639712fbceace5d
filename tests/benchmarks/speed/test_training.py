"""The training benchmark: its sums on made-up turns, and one run with a tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.speed.training import main, summarize, table, take_turns
from benchmarks.speed.training_arms import ARMS, LEARNING_RATE, Setting, Turn, peak_rss_mib, work
from common.errors import UserError
from common.tools.device import computes_in_bf16
from text.model import load_model, load_tokenizer

TURN = Turn(
    updates=4,
    seconds=1.0,
    cpu_seconds=2.0,
    bf16=False,
    compiled=False,
    peak_rss_mib=100.0,
    peak_device_mib=None,
    threads=2,
)
ALWAYS = {"ours", "ours-without-probe", "trainer-bf16", "eager-fp32"}


def some_turns() -> dict[str, list[Turn]]:
    """The second round was slow for everyone; the first is warm-up."""
    seconds = {
        "ours": [9.0, 1.1, 2.2, 1.0],
        "ours-without-probe": [9.0, 1.0, 2.0, 1.0],
        "trainer-bf16": [9.0, 2.2, 4.4, 2.0],
        "eager-fp32": [9.0, 2.2, 4.4, 1.0],
    }
    return {
        arm: [replace(TURN, seconds=value) for value in values] for arm, values in seconds.items()
    }


def test_ratios_are_taken_within_a_round() -> None:
    summary = summarize(some_turns(), tokens_per_update=10)
    assert summary["arms"]["ours-without-probe"]["tokens_per_second"] == {
        "median": 40.0,
        "min": 20.0,
        "max": 40.0,
    }
    assert summary["arms"]["ours"]["first_turn_seconds"] == 9.0
    ratios = summary["ratios"]
    assert set(ratios) == {"ours_over_trainer_bf16", "ours_over_eager_fp32", "probe_cost"}
    assert ratios["ours_over_trainer_bf16"]["min"] == 2.0
    level = {"median": 1.0, "min": 1.0, "max": 1.0}
    assert ratios["ours_over_eager_fp32"] == {
        "median": 2.0,
        "min": 1.0,
        "max": 2.0,
        "bar": 2.2,
        "met": False,
        "by_cpu_time": level,
    }
    assert ratios["probe_cost"] == {
        "median": 0.1,
        "min": 0.0,
        "max": 0.1,
        "bar": 0.1,
        "met": True,
        "by_cpu_time": {"median": 0.0, "min": 0.0, "max": 0.0},
    }


def test_the_table_names_every_arm_and_ratio() -> None:
    result = {"bf16_units": False, "device": "cpu", "batch": 8, "length": 256}
    result |= {"provenance": {"cpu": "a chip"}} | summarize(some_turns(), tokens_per_update=10)
    shown = table(result).splitlines()
    assert shown[1].split() == ["ours", "36", "18", "40", "fp32", "eager", "100", "MiB"]
    assert [line.split()[0] for line in shown[1:-1]] == [*some_turns(), *result["ratios"]]
    assert "a chip without bf16 units" in shown[-1]


def test_fewer_updates_in_a_turn_count_as_such() -> None:
    turns = some_turns()
    turns["trainer-bf16"] = [replace(turn, updates=2) for turn in turns["trainer-bf16"]]
    ratio = summarize(turns, tokens_per_update=10)["ratios"]["ours_over_trainer_bf16"]
    assert ratio["median"] == 4.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_peak_memory_sees_a_tensor_that_is_gone() -> None:
    before = peak_rss_mib()
    assert before is not None
    torch.ones(round(before) + 64, 2**18)  # that many MiB and nothing keeps it
    after = peak_rss_mib()
    assert after is not None and after >= before + 64


@pytest.mark.parametrize("option", ["batch", "length", "updates", "repeats"])
def test_sizes_that_measure_nothing_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=f"--{option}"):
        main([f"--{option}", "0"])


class Caller:
    """The far end of an arm's connection: asks for so many turns, then hangs up."""

    def __init__(self, turns: int) -> None:
        self.left, self.reported = turns, []

    def recv(self) -> str:
        if self.left == 0:
            raise EOFError
        self.left -= 1
        return "go"

    def send(self, turn: Turn) -> None:
        self.reported.append(turn)

    def close(self) -> None:
        self.left = 0


def here(arms: Sequence[str], setting: Setting, *, repeats: int) -> dict[str, list[Turn]]:
    """`take_turns`, one arm after the other in this process."""
    turns = {}
    for arm in arms:
        caller: Any = Caller(repeats + 1)
        work(arm, setting, caller)
        turns[arm] = caller.reported
    return turns


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = LlamaConfig(vocab_size=8192, num_attention_heads=2, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    load_tokenizer("embedded").save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_run_with_a_tiny_model(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.training.take_turns", here)
    monkeypatch.setattr("sys.stdout", sys.stdout)  # `work` replaces it
    out = tmp_path / "speed.json"
    sizes = ["--batch", "2", "--length", "8", "--updates", "2", "--repeats", "2"]
    options = ["--device", "cpu", "--no_compile", "--out", str(out)]
    assert main(["--model", tiny, *sizes, *options]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["benchmark"] == "training_speed"
    assert result["threads"] == torch.get_num_threads()
    assert result["bf16_units"] == computes_in_bf16(torch.device("cpu"))
    assert set(result["arms"]) == (ALWAYS if result["bf16_units"] else set(ARMS))
    for arm, figures in result["arms"].items():
        rate = figures["tokens_per_second"]
        assert 0 < rate["min"] <= rate["median"] <= rate["max"]
        in_bf16 = result["bf16_units"] if arm.startswith("ours") else arm == "trainer-bf16"
        assert figures["bf16"] == in_bf16
        assert not figures["compiled"]
        assert figures["peak_device_mib"] is None
        assert (figures["peak_rss_mib"] is not None) == Path("/proc/self/status").exists()
    assert ("ours_over_trainer_fp32" in result["ratios"]) == (not result["bf16_units"])
    assert {"versions", "git_commit", "cpu", "command"} <= set(result["provenance"])
    assert str(tmp_path) not in json.dumps(result)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_all_weights(arm: str, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []

    def load(setting: Setting) -> Any:
        models.append(load_model(setting.model).train())
        return models[-1]

    monkeypatch.setattr("benchmarks.speed.training_arms._load", load)
    monkeypatch.setattr("sys.stdout", sys.stdout)
    turns = here([arm], some_setting(tiny, 1), repeats=2)[arm]
    assert [turn.updates for turn in turns] == [1, 1, 1]
    before = dict(load_model(tiny).named_parameters())
    after = dict(models[0].named_parameters())
    for name, value in before.items():
        moved = (after[name] - value).abs().max()
        # AdamW moves a weight by at most about its rate in each of the three updates.
        assert 0 < moved < 4 * LEARNING_RATE, name


def some_setting(model: str, updates: int) -> Setting:
    return Setting(
        model=model,
        sequences_NT=torch.randint(0, 8192, (6, 8)),
        batch=2,
        updates=updates,
        device="cpu",
        compile=False,
    )


def test_turns_are_taken_in_a_process_of_its_own(tiny: str) -> None:
    turns = take_turns(["eager-fp32"], some_setting(tiny, 3), repeats=1)
    assert [turn.updates for turn in turns["eager-fp32"]] == [3, 3]


@pytest.mark.slow
def test_an_arm_that_dies_ends_all(tiny: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="the arm no-such-arm"):
        take_turns(["eager-fp32", "no-such-arm"], some_setting(tiny, 3), repeats=1)
    assert "KeyError: 'no-such-arm'" in capfd.readouterr().err
