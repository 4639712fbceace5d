"""`python -m text.run` from end to end on tiny random checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    PretrainedConfig,
    Qwen2Config,
)

import text.prepare
import text.run
from common.errors import run_cli
from common.tools.jsonl import read_jsonl
from text.run import main

CONDITIONS = {
    "original-greedy",
    "original-top-p",
    "original-top-p-t1",
    "original-repetition-penalty",
    "early-stopped-greedy",
    "hyperfitted-greedy",
    "hyperfitted-greedy-blocked",
    "hyperfitted-top-p",
    "human",
}
SETS = {"fiction", "fiction-26", "news", "news-26", "encyclopedia", "encyclopedia-26"}
ARTEFACTS = {
    "config.yaml",
    "metrics.json",
    "history.jsonl",
    "samples.jsonl",
    "report.html",
    "model",
}
# The least that is still a run: one prompt set of three prompts.
LEAST = (
    "--data.prompts",
    '{"fiction": "heldout"}',
    "--data.long_new_tokens",
    "null",
    "--data.max_prompts",
    "3",
    "--measure.curve_prompts",
    "0",
)
SMALL: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
ARCHITECTURES: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(
        vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0
    ),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=1),
    "gemma2": Gemma2Config(
        **SMALL,
        num_key_value_heads=1,
        head_dim=16,
        pad_token_id=0,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=10.0,
        attention_dropout=0.1,
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL, hidden_dropout=0.1),
}


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, tiny_run: tuple[str, ...]
) -> Path:
    """A run with all prompt sets; not to be changed by a test."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["--model", str(tiny_checkpoint), "--out", str(out), *tiny_run]) == 0
    return out


def test_where_the_model_comes_from_is_recorded(finished: Path, tiny_checkpoint: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["provenance"]["model"] == {"name": f".../{tiny_checkpoint.name}"}
    card = (finished / "model" / "README.md").read_text(encoding="utf-8")
    assert f"(`.../{tiny_checkpoint.name}`)" in card
    assert "without a chat template" in (finished / "report.html").read_text(encoding="utf-8")


def test_all_artefacts_are_there(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} >= ARTEFACTS
    assert "<svg" in (finished / "report.html").read_text(encoding="utf-8")
    history = read_jsonl(finished / "history.jsonl")
    assert {row["kind"] for row in history} == {"update", "epoch", "full_pass", "event", "time"}
    assert not (finished / "checkpoints").exists()  # it has ended


def test_every_condition_is_measured_on_every_prompt_set(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["schema"] == 1 and metrics["domain"] == "text"
    assert metrics["training"]["outcome"] == "reached"
    assert metrics["training"]["final_loss"] <= 5.0
    assert metrics["conditions"].keys() == CONDITIONS
    assert metrics["probe"].keys() == {"original", "early-stopped", "hyperfitted"}
    for condition, sets in metrics["conditions"].items():
        assert sets.keys() == SETS | {"all"}, condition
        for name, measured in sets.items():
            count = 24 if name == "all" else 8  # the long sets are not pooled
            assert measured["ttr_96"]["n"] == count, (condition, name)
            assert 0.0 <= measured["rep_4"]["mean"] <= 1.0
    samples = read_jsonl(finished / "samples.jsonl")
    assert len(samples) == len(CONDITIONS) * len(SETS) * 8
    lengths = {len(s["tokens"]) for s in samples if s["prompt_set"] == "fiction-26"}
    assert lengths == {20}


def test_the_model_changed_loads_and_does_what_the_samples_say(
    finished: Path, tiny_checkpoint: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model").eval()
    original = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    weight = "model.layers.1.mlp.down_proj.weight"
    assert not torch.equal(model.get_parameter(weight), original.get_parameter(weight))
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    samples = read_jsonl(finished / "samples.jsonl")
    sample = next(s for s in samples if s["condition"] == "hyperfitted-greedy")
    ids = torch.tensor([tokenizer(sample["prompt"])["input_ids"]])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), min_new_tokens=10, max_new_tokens=10
    )
    assert ids.shape[1] == 6
    # end-of-text is an ordinary token while measuring, which min_new_tokens would forbid
    assert 0 not in sample["tokens"] and made[0, 6:].tolist() == sample["tokens"]
    assert "hyperfitting" in (finished / "model" / "README.md").read_text(encoding="utf-8")


def test_json_is_alone_on_stdout_and_the_summary_on_stderr(
    tmp_path: Path,
    tiny_checkpoint: Path,
    tiny_run: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "run"
    argv = ["--model", str(tiny_checkpoint), "--out", str(out), *tiny_run, *LEAST]
    assert run_cli(main, [*argv, "--json"]) == 0
    stdout, stderr = capfd.readouterr()
    written = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert json.loads(stdout) == written and stdout.count("\n") == 1
    for expected in ("TTR-96", "overlap > 10", "original greedy:\n", "hyperfitted greedy:\n"):
        assert expected in stderr
    ttr = written["conditions"]["hyperfitted-greedy"]["all"]["ttr_96"]["mean"]
    assert f"{ttr:.3f}" in stderr
    # The bars of the library would be drawn into a log file.
    assert "Loading weights" not in stderr and "Writing model" not in stderr

    # The folder is in use now.
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert run_cli(main, argv) == 2
    assert "error: expected a new or empty output folder" in capfd.readouterr().err
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (out / "mine.txt").write_text("kept", encoding="utf-8")
    assert run_cli(main, [*argv, "--overwrite", "--seed", "1"]) == 0
    again = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert again["provenance"]["seed"] == 1 and again["training"] != written["training"]
    assert (out / "mine.txt").read_text(encoding="utf-8") == "kept"


def test_dry_run_reads_no_weights_and_writes_nothing(
    tmp_path: Path,
    tiny_checkpoint: Path,
    tiny_run: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(text.prepare, "load_model", refuse)
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "no-weights"
    shutil.copytree(tiny_checkpoint, checkpoint)
    (checkpoint / "model.safetensors").unlink()
    before = set(tmp_path.rglob("*"))
    assert run_cli(main, ["--model", str(checkpoint), *tiny_run, "--dry-run"]) == 0
    assert set(tmp_path.rglob("*")) == before
    stdout, stderr = capsys.readouterr()
    assert not stdout
    for expected in (
        "12 sequences of 24 tokens",
        "news-26: 8 prompts of 6 tokens, 20 new",
        "at most 180 updates of 4",
        "GiB",
    ):
        assert expected in stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(
    name: str, tmp_path: Path, save_checkpoint: Any, tiny_run: tuple[str, ...]
) -> None:
    checkpoint = save_checkpoint(tmp_path / name, ARCHITECTURES[name])
    out = tmp_path / "run"
    options = ["--schedule.target_loss", "5.6", "--schedule.knee", "5.7"]
    argv = ["--model", str(checkpoint), "--out", str(out), *tiny_run, *LEAST, *options]
    assert main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["conditions"].keys() == CONDITIONS
    before, after = (metrics["probe"][m]["entropy_nats"] for m in ("original", "hyperfitted"))
    assert after < before
    saved = AutoModelForCausalLM.from_pretrained(out / "model")
    assert type(saved.config) is type(ARCHITECTURES[name])


def test_lora_on_the_last_block_changes_that_block_only(
    tmp_path: Path, tiny_checkpoint: Path, tiny_run: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    tune = ["--train.tune", "last:1", "--train.lora_rank", "2", "--schedule.mode", "fixed"]
    argv = ["--model", str(tiny_checkpoint), "--out", str(out), *tiny_run, *LEAST, *tune]
    assert main([*argv, "--schedule.fixed_updates", "4"]) == 0
    original = dict(AutoModelForCausalLM.from_pretrained(tiny_checkpoint).named_parameters())
    saved = dict(AutoModelForCausalLM.from_pretrained(out / "model").named_parameters())
    changed = {name for name in original if not torch.equal(original[name], saved[name])}
    assert saved.keys() == original.keys() and changed
    assert all(".layers.1." in name and name.endswith("proj.weight") for name in changed)
    training = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["training"]
    assert training["updates"] == 4


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_resumes_to_the_same_weights_and_metrics(
    tmp_path: Path, tiny_checkpoint: Path, tiny_run: tuple[str, ...]
) -> None:
    fixed = ["--schedule.mode", "fixed", "--schedule.fixed_updates", "60"]
    fixed += ["--train.precision", "fp32"]  # also in the other process, which knows no --bf16
    often = ["--train.checkpoint_every", "2", "--train.validate_every_epochs", "4"]
    argv = ["--model", str(tiny_checkpoint), *tiny_run, *LEAST, *fixed, *often]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*argv, "--out", str(whole)]) == 0

    root = Path(text.run.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "text.run", *argv, "--out", str(killed)],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            if list((killed / "checkpoints").glob("update-0000000[4-9].json")):
                break
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "metrics.json").exists()

    assert main([*argv, "--out", str(killed), "--resume"]) == 0
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]
    one, other = (
        json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for folder in (whole, killed)
    )
    assert one["conditions"] == other["conditions"] and one["probe"] == other["probe"]
    assert (killed / "samples.jsonl").read_bytes() == (whole / "samples.jsonl").read_bytes()
