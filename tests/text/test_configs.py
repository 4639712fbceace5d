"""Every shipped configuration loads, says what it must, and fits a model of its architecture."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

import text.prepare
from common.errors import run_cli
from common.tools.options import parse
from text.config import TextRunConfig
from text.run import main

FOLDER = Path(__file__).parent.parent.parent / "configs" / "text"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
PAPER = ("paper_llama31_8b", "paper_tinyllama")
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


def load(name: str) -> TextRunConfig:
    argv = ["--config", str(FOLDER / f"{name}.yaml")]
    return parse(TextRunConfig, argv, prog="test", description="")


def test_the_expected_ones_are_there() -> None:
    assert set(CONFIGS) == {*PAPER, "default", "demo", "late_stage_lora", "quick"}


@pytest.mark.parametrize("name", CONFIGS)
def test_head_tells_command_cost_and_result(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert f"python -m text.run --config configs/text/{name}.yaml" in head
    for word in ("# What: ", "# Cost: ", "# Result to expect: "):
        assert word in head
    assert load(name).name == name


def test_default_is_the_default() -> None:
    """One of the two was changed without the other if this fails."""
    assert load("default") == parse(TextRunConfig, [], prog="test", description="")


@pytest.mark.parametrize("name", PAPER)
def test_paper_runs_follow_the_paper(name: str) -> None:
    config = load(name)
    assert config.schedule.mode == "fixed" and config.schedule.fixed_updates == 5000
    assert config.schedule.learning_rate == 1e-6 and config.schedule.warmup_updates == 0
    assert config.train.batch_size == 8 and config.train.weight_decay == 0.0
    assert (config.train.tune, config.train.lora_rank) == ("all", 0)
    assert not config.train.freeze_embeddings
    data = config.data
    assert (data.sequences, data.length, data.max_prompts) == (2000, 256, 100)
    assert (data.prompt_tokens, data.new_tokens, data.long_new_tokens) == (32, 96, 224)
    assert not data.packing


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many documents as the paper's runs need, which share nothing."""
    folder = tmp_path_factory.mktemp("corpora")
    letters = random.Random(0)
    for name, count in (("fiction", 2200), ("news", 100), ("wikipedia", 100)):
        rows = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=400)) for _ in range(count)]
        text = "".join(f'{{"text": "{row}"}}\n' for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_dry_run_on_a_tiny_model_of_the_same_architecture(
    name: str,
    corpora: Path,
    tmp_path: Path,
    save_checkpoint: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grouped: dict[str, Any] = {"num_key_value_heads": 1, "rope_parameters": ROPE}
    checkpoint = save_checkpoint(
        tmp_path / "model",
        LlamaConfig(
            vocab_size=400,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=8,
            num_attention_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            **(grouped if name in PAPER else {}),
        ),
    )
    config = FOLDER / f"{name}.yaml"
    argv = ["--config", str(config), "--model", str(checkpoint), "--device", "cpu", "--dry-run"]
    if name in PAPER:
        argv += ["--data.train", f'["{corpora}/fiction.jsonl"]']
        for option, file in (("news", "news"), ("encyclopedia", "wikipedia")):
            argv += [f"--data.prompts.{option}", f"{corpora}/{file}.jsonl"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text.prepare, "load_model", None)
    assert run_cli(main, argv) == 0
    err = capsys.readouterr().err
    # The recipe of the embedded model is not that of the checkpoint that stands for it here.
    sequences = "256 sequences of 256" if name == "default" else "64 sequences of 128"
    if name in PAPER:
        sequences = "2000 sequences of 256"
        assert "at most 5,000 updates of 8 sequences" in err
        for prompts in ("fiction", "fiction-256", "news", "news-256", "encyclopedia"):
            assert f"prompt set {prompts}: 100 prompts of 32 tokens" in err
    assert f"training on {sequences} tokens" in err
    assert not (tmp_path / "runs").exists()
