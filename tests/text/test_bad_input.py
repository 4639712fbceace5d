"""What a user can get wrong: one line on standard error, exit code 2, nothing overwritten."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from common.errors import run_cli
from common.record.run_folder import RunFolder
from text.run import main

Refused = Callable[..., str]
ONE_SET = ("--data.prompts", '{"fiction": "heldout"}', "--data.long_new_tokens", "null")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder that looks like an earlier run, which --overwrite may replace."""
    run = RunFolder.create(tmp_path / "earlier", config_yaml="name: earlier\n")
    run.write_text(run.metrics, "{}")
    with run.manifest.adding("model") as added:
        (added / "model.safetensors").write_bytes(b"weights")
    return run.path


@pytest.fixture
def argv(tiny_checkpoint: Path, tiny_run: tuple[str, ...]) -> list[str]:
    options = ["--data.max_prompts", "3", "--measure.curve_prompts", "0"]
    return ["--model", str(tiny_checkpoint), *tiny_run, *ONE_SET, *options]


@pytest.fixture
def refused(earlier: Path, argv: list[str], capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs with more options and gives the one error line, having checked all else."""

    def run(*options: str) -> str:
        before = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
        out = () if "--out" in options else ("--out", str(earlier), "--overwrite")
        line = error_line([*argv, *out, *options], capfd)
        after = {path: path.read_bytes() for path in earlier.rglob("*") if path.is_file()}
        assert after == before
        return line

    return run


def error_line(argv: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert run_cli(main, argv) == 2
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and err.endswith(lines[0] + "\n")
    assert "Traceback" not in err and out == ""
    return lines[0]


def texts(count: int, start: int = 0) -> list[str]:
    """Texts of 60 tokens or more that share nothing."""
    return [" ".join(f"{n}.{m * m}" for m in range(60)) for n in range(start, start + count)]


def write(path: Path, rows: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# Corpora.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "which is empty"),
        (b" \n\n", "which is empty"),
        (b"\x89PNG\0\0\x1a", "which is binary"),
        ("na\u00efve".encode("latin-1"), "is not UTF-8"),
    ],
    ids=["missing", "empty", "blank", "binary", "latin-1"],
)
def test_broken_corpus(
    content: bytes | None, message: str, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused("--data.train", json.dumps([str(path)]))
    assert message in line and str(path) in line


def test_too_few_long_documents(refused: Refused) -> None:
    line = refused("--data.sequences", "153")
    assert "expected at least 153 sequences of 24 tokens; got 152 from 152 documents" in line


def test_training_and_evaluation_overlap(tmp_path: Path, refused: Refused) -> None:
    train = write(tmp_path / "train.jsonl", texts(12))
    held = write(tmp_path / "held.jsonl", [*texts(2, start=20), texts(1)[0]])
    line = refused("--data.train", json.dumps([train]), "--data.heldout", json.dumps([held]))
    assert "share nothing with the training documents; got 1 that do" in line and held in line


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trian.batch_size", "3"], "trian"),
        (["--train.batch_size", "many"], "train.batch_size"),
        (["--train.batch_size", "13"], "train.batch_size to be from 1 to the 12 training"),
        (["--train.tune", "last:3"], "K up to 2; got 'last:3'"),
        (["--measure.top_p", "1.5"], "top_p in (0, 1]"),
        (["--measure.blocker_match", "24"], "measure.blocker_match from 1 to 23"),
        (["--device", "tpu"], "change --device"),
        (["--data.new_tokens", "60"], "at most 64 tokens, the model's context; got 66"),
        (["--config", "no-such.yaml"], "no-such.yaml"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else "",
)
def test_bad_option(options: list[str], message: str, refused: Refused) -> None:
    assert message in refused(*options)


def test_unknown_key_in_a_file(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schedule:\n  target_los: 0.1\n", encoding="utf-8")
    assert "target_los" in refused("--config", str(path))


# Models.


def test_missing_model_folder(refused: Refused) -> None:
    assert "'./nowhere', which does not exist" in refused("--model", "./nowhere")


def test_hub_id_without_network(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = refused("--model", "nobody/no-such-model")
    assert "'nobody/no-such-model', which cannot be read" in line and "network" in line


def test_tokenizer_that_does_not_fit(
    tmp_path: Path, save_checkpoint: Any, refused: Refused
) -> None:
    config = LlamaConfig(
        vocab_size=390,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    line = refused("--model", str(save_checkpoint(tmp_path / "small", config)))
    assert "ids below 390" in line and "ids up to 399" in line


def broken_checkpoint(tiny_checkpoint: Path, folder: Path) -> Path:
    """A copy of the checkpoint with one NaN among its weights."""
    shutil.copytree(tiny_checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_nan_in_the_checkpoint(tmp_path: Path, tiny_checkpoint: Path, refused: Refused) -> None:
    line = refused("--model", str(broken_checkpoint(tiny_checkpoint, tmp_path / "nan")))
    assert "finite numbers; got NaN or infinity in model.layers.1.mlp.up_proj.weight" in line


# Training that does not get there: recorded, and no success.


def test_target_out_of_reach(
    tmp_path: Path, argv: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = ["--schedule.target_loss", "0.001", "--schedule.max_epochs", "2"]
    line = error_line([*argv, "--out", str(out), *options], capfd)
    assert "a training loss of 0.001 within 2 epochs; got budget_exhausted" in line
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["outcome"] == "budget_exhausted"
    assert metrics["training"]["updates"] == 6 and "hyperfitted-greedy" in metrics["conditions"]
    assert (out / "report.html").exists() and (out / "model" / "config.json").exists()


def test_nan_loss(tmp_path: Path, argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    line = error_line([*argv, "--out", str(out), "--schedule.learning_rate", "1e30"], capfd)
    assert "got diverged" in line and "learning_rate" in line
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["outcome"] == "diverged"


# Output.


def test_a_file_where_the_folder_should_be(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert "Not a directory" in refused("--out", str(tmp_path / "file"))
    assert "Not a directory" in refused("--out", str(tmp_path / "file" / "run"))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_is_not_ours(tmp_path: Path, refused: Refused) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years", encoding="utf-8")
    assert "only our own files are overwritten" in refused("--out", str(mine), "--overwrite")
    assert (mine / "thesis.txt").read_text(encoding="utf-8") == "years"


@pytest.mark.parametrize(
    ("number", "what", "where"),
    [
        (errno.EROFS, "Read-only file system", "config.yaml"),
        (errno.ENOSPC, "No space left on device", "update-00000000"),
        (errno.ENOSPC, "No space left on device", "metrics.json"),
    ],
    ids=["read-only", "full at the first checkpoint", "full at the end"],
)
def test_output_that_cannot_be_written(
    number: int,
    what: str,
    where: str,
    tmp_path: Path,
    argv: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = os.open

    def failing(path: Any, *rest: Any, **options: Any) -> int:
        if where in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", failing)
    line = error_line([*argv, "--out", str(tmp_path / "run")], capfd)
    assert what in line and where in line
    assert not list((tmp_path / "run").rglob("*.tmp"))


# Resuming.


def test_damaged_checkpoints(
    tmp_path: Path, argv: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    command = [*argv, "--out", str(out), "--train.checkpoint_every", "2"]
    command += ["--train.keep_checkpoints", "true"]
    assert run_cli(main, command) == 0
    (out / "report.html").unlink()  # as if it had been killed before its report
    weights = (out / "model" / "model.safetensors").read_bytes()
    newest = max((out / "checkpoints").glob("update-*.pt"))
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run_cli(main, [*command, "--resume"]) == 0
    history = (out / "history.jsonl").read_text(encoding="utf-8")
    assert f"checkpoint {newest.name} is damaged or cut short" in history
    assert (out / "model" / "model.safetensors").read_bytes() == weights

    (out / "report.html").unlink()
    for path in (out / "checkpoints").glob("update-*.pt"):
        path.write_bytes(path.read_bytes()[:50])
    metrics = (out / "metrics.json").read_bytes()
    line = error_line([*command, "--resume"], capfd)
    assert "expected a whole checkpoint" in line and "2 damaged ones" in line
    assert (out / "metrics.json").read_bytes() == metrics


def test_resume_without_a_run_and_with_another_configuration(
    tmp_path: Path,
    refused: Refused,
    argv: list[str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "a run with checkpoints to resume" in refused(
        "--out", str(tmp_path / "none"), "--resume"
    )
    out = tmp_path / "run"
    assert run_cli(main, [*argv, "--out", str(out)]) == 0
    line = error_line([*argv, "--out", str(out), "--resume", "--train.batch_size", "3"], capfd)
    assert "train.batch_size = 4; got train.batch_size = 3" in line
    # Unchanged, it has nothing left to do: no checkpoint stayed, and no weight is loaded.
    assert not (out / "checkpoints").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr("text.prepare.load_model", None)
    assert run_cli(main, [*argv, "--out", str(out), "--resume", "--json"]) == 0
    printed, told = capfd.readouterr()
    assert told.count("\n") == 1 and "this run has ended, nothing is repeated" in told
    assert json.loads(printed) == json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
