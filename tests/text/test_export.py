"""The command that writes a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config

from common.errors import run_cli
from text.export import main
from text.model import load_model


def export(model: object, *more: str) -> int:
    return run_cli(main, ["--model", str(model), *more])


def test_writes_a_file_that_is_read_again(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {dtype: tmp_path / f"{dtype}.gguf" for dtype in ("f16", "f32")}
    assert export(tiny_checkpoint, "--out", str(out["f32"]), "--dtype", "f32") == 0
    assert capsys.readouterr().out.strip() == str(out["f32"])
    assert export(tiny_checkpoint, "--out", str(out["f16"])) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f16.gguf", "f32.gguf"]
    assert out["f16"].stat().st_size < out["f32"].stat().st_size
    folder, file = load_model(str(tiny_checkpoint)), load_model(str(out["f32"]))
    for name, value in folder.state_dict().items():
        assert torch.equal(file.state_dict()[name], value), name
    # What came from a file goes into one again.
    assert export(out["f32"], "--out", str(tmp_path / "again.gguf"), "--dtype", "f32") == 0
    assert "TINY" not in capsys.readouterr().err


def test_dry_run_writes_nothing(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_checkpoint, "--out", str(tmp_path / "m.gguf"), "--dry_run") == 0
    captured = capsys.readouterr()
    assert not list(tmp_path.iterdir()) and "M weights, about" in captured.err
    assert captured.out == ""


def test_mistakes_give_one_line(
    tiny_checkpoint: Path,
    tmp_path: Path,
    save_checkpoint: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = tmp_path / "there.gguf"
    there.write_text("mine")
    other = save_checkpoint(  # pyright: ignore[reportCallIssue]
        tmp_path / "gpt2", GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2)
    )
    new = str(tmp_path / "new.gguf")
    for model, more, message in (
        (tiny_checkpoint, ["--out", str(there)], "which exists"),
        (tiny_checkpoint, ["--out", str(tmp_path / "no" / "m.gguf")], "in a folder that exists"),
        (tiny_checkpoint, ["--out", new, "--dtype", "q4"], "q4"),
        (other, ["--out", new], "type 'gpt2'; use llama.cpp's own converter"),
        ("./nowhere", ["--out", new], "does not exist"),
    ):
        assert export(model, *more) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("error: ") and message in line
    assert there.read_text() == "mine" and not Path(new).exists()
