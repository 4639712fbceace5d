"""`python -m text.pretrain` from end to end on a few tales, and the parts it starts from."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import common.hyperfit.loop
import common.pretrain
from common.errors import UserError, run_cli
from common.tools.jsonl import read_jsonl
from text.base_model import new_model, train_tokenizer
from text.corpus import read_documents
from text.pretrain import main

OPTIONS = {
    "vocab_size": 300,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "intermediate_size": 24,
    "length": 16,
    "batch_size": 4,
    "updates": 6,
    "warmup_updates": 1,
    "learning_rate": 1e-2,
    "heldout_books": 2,
    "heldout_sequences": 8,
    "log_every": 2,
    "checkpoint_every": 2,
    "validate_every": 3,
    "device": "cpu",
    "compile": "off",
}
SMALL = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight books of three tales each."""
    tales = read_documents("embedded:tales")[:24]
    rows = [
        {
            "author": f"Author {n % 2}",
            "title": f"Book {n}",
            "text": "\n\n".join(d.text for d in tales[3 * n : 3 * n + 3]).replace('"', "\u201c"),
        }
        for n in range(8)
    ]
    path = tmp_path_factory.mktemp("books") / "books.jsonl.xz"
    path.write_bytes(lzma.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, books: Path) -> Path:
    out = tmp_path_factory.mktemp("base") / "run"
    assert main(["--data", str(books), "--out", str(out), *SMALL]) == 0
    return out


def test_artefacts(finished: Path) -> None:
    result = json.loads((finished / "pretrain.json").read_text(encoding="utf-8"))
    assert result["updates"] == 6 and result["tokens"] == 6 * 4 * 16
    assert (
        result["heldout_after"]["loss_nats"]["mean"] < result["heldout_before"]["loss_nats"]["mean"]
    )
    assert result["provenance"]["command"][:1] == ["python -m text.pretrain"]
    history = read_jsonl(finished / "history.jsonl")
    assert [row["update"] for row in history if row["kind"] == "update"] == [2, 4, 6]
    losses = [row["validation_loss"] for row in history if row["kind"] == "epoch"]
    assert len(losses) >= 3 and losses[-1] < losses[0]


def test_what_is_saved_is_a_small_neutral_llama_in_bf16(finished: Path) -> None:
    tensors = load_file(finished / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    assert isinstance(model, LlamaForCausalLM) and model.config.num_hidden_layers == 1
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    assert len(tokenizer) == 300 == model.config.vocab_size
    said = 'The hen said "na\u00efve".\n'
    assert tokenizer.decode(tokenizer(said)["input_ids"]) == said
    assert model.generation_config.do_sample is False


def test_resume_gives_the_same_weights(
    finished: Path, books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = common.hyperfit.loop.TrainingLoop._train_one_update

    def interrupted(loop: Any) -> None:
        if loop.update == 5:
            raise KeyboardInterrupt
        train(loop)

    out = tmp_path / "run"
    argv = ["--data", str(books), "--out", str(out), *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(common.hyperfit.loop.TrainingLoop, "_train_one_update", interrupted)
        assert run_cli(main, argv) == 130
    assert not (out / "pretrain.json").exists()
    assert main([*argv, "--resume"]) == 0
    weights = [(f / "model" / "model.safetensors").read_bytes() for f in (finished, out)]
    assert weights[0] == weights[1]


def test_continuation_keeps_the_tokenizer_and_starts_from_the_weights(
    finished: Path, books: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = tmp_path / "run", finished / "model"
    argv = ["--data", str(books), "--init", str(model), "--out", str(out), *SMALL]
    assert main([*argv, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "pretrain.json").read_text(encoding="utf-8"))
    before = json.loads((finished / "pretrain.json").read_text(encoding="utf-8"))
    assert result["heldout_before"]["loss_nats"]["mean"] == pytest.approx(
        before["heldout_after"]["loss_nats"]["mean"], rel=1e-6
    )
    assert (out / "model" / "tokenizer.json").read_bytes() == (
        model / "tokenizer.json"
    ).read_bytes()


def test_dry_run(
    books: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(common.pretrain, "pretrain", refuse)
    out = tmp_path / "run"
    argv = ["--data", str(books), "--out", str(out), "--authors", '["Author 1"]', *SMALL]
    assert main([*argv, "--dry-run"]) == 0
    stdout, stderr = capsys.readouterr()
    assert not stdout and not out.exists()
    assert "2 books," in stderr and "held out 2 books" in stderr and "GiB" in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocab_size", "256"], "vocab_size above 256"),
        (["--hidden_size", "18"], "multiple of 2 x heads"),
        (["--length", "1"], "length to be from 2 to 1,048,576"),
        (["--heldout_books", "0"], "heldout_books to be at least 1"),
        (["--heldout_books", "8"], "more than 8 titles"),
        (["--micro_batch_size", "0"], "micro_batch_size to be at least 1"),
        (["--batch_size", "100000"], "batch_size of at most"),
        (["--length", "100000"], "a book of at least 100000 tokens"),
        (["--init", "./nowhere"], "does not exist"),
        (["--data", "nowhere.jsonl"], "No such file"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else "",
)
def test_bad_input(
    options: list[str],
    message: str,
    books: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert run_cli(main, ["--data", str(books), "--out", str(out), *SMALL, *options]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert message in errors[-1] and errors[-1].startswith("error: ") and not out.exists()


def test_data_have_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(main, []) == 2
    assert "expected --data FILE" in capsys.readouterr().err


def test_too_few_texts_give_fewer_merges_but_a_whole_model() -> None:
    tokenizer = train_tokenizer(["a hen, a hen"], vocab_size=5000, context=32)
    assert 257 <= len(tokenizer) < 300 and tokenizer.eos_token_id == 0
    model = new_model(tokenizer, hidden_size=8, layers=1, heads=2, intermediate_size=8, context=32)
    assert model.get_input_embeddings().weight.shape == (len(tokenizer), 8)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    with pytest.raises(UserError, match="multiple of 2 x heads"):
        new_model(tokenizer, hidden_size=6, layers=1, heads=2, intermediate_size=8, context=32)
