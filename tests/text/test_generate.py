"""The command that continues one prompt, on a tiny random model in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
)

from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.errors import run_cli
from text.generate import main

PROMPT = "caf\u00e9 4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One token a byte, so that random output is full of broken characters."""
    where = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(where)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(where)
    return where


def expected(folder: Path, new_tokens: int) -> tuple[list[int], str]:
    model = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    new = generate(model, ids, new_tokens=new_tokens, method=greedy_config())[0].tolist()
    whole = tokenizer.decode([*ids[0].tolist(), *new])
    assert isinstance(whole, str)
    return new, whole


def run(folder: Path, *more: str) -> int:
    return run_cli(main, ["--model", str(folder), "--prompt", PROMPT, "--device", "cpu", *more])


def test_prints_prompt_and_continuation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--new_tokens", "20") == 0
    captured = capsys.readouterr()
    assert captured.out == expected(folder, 20)[1] + "\n"
    assert "20 tokens," in captured.err


def test_json_is_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--new_tokens", "20", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    ids, whole = expected(folder, 20)
    assert result["tokens"] == ids and PROMPT + result["continuation"] == whole


def test_sampling_follows_the_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sample(*more: str) -> list[int]:
        arguments = ("--new_tokens", "20", "--method", "top-p", "--json", *more)
        assert run(folder, *arguments) == 0
        return json.loads(capsys.readouterr().out)["tokens"]

    first = sample("--seed", "1")
    assert first == sample("--seed", "1")
    assert first != sample("--seed", "2")
    # One token to draw from is greedy.
    assert sample("--top_k", "1") == expected(folder, 20)[0]
    assert sample("--top_p", "1e-6") == expected(folder, 20)[0]
    assert sample("--temperature", "1e-4") == expected(folder, 20)[0]


def test_dry_run_loads_no_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert run(tmp_path, "--dry-run") == 2  # 200 new tokens and 7 of the prompt are above 64
    assert "the model's context" in capsys.readouterr().err
    assert run(tmp_path, "--dry-run", "--new_tokens", "30") == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "prompt of 7 tokens, up to 30 new tokens" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", ""), "an empty one"),
        (("--new_tokens", "0"), "new_tokens to be at least 1"),
        (("--no_such_option", "1"), "no_such_option"),
        (("--method", "beam"), "beam"),
        (("--prompt", "x" * 60, "--new_tokens", "5"), "at most 64 tokens"),
        (("--method", "top-p", "--top_p", "2"), "top_p in (0, 1]"),
        (("--device", "no_such_device", "--new_tokens", "5"), "no_such_device"),
        (("--model", "./nowhere"), "does not exist"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(folder, *arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last


def test_a_model_without_a_cache_goes_on_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=256, hidden_size=16, num_hidden_layers=2, state_size=4, initializer_range=0.3
    )
    model = MambaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    assert run(tmp_path, "--new_tokens", "6", "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    ids_1T = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        for token in result["tokens"]:
            scores_V = model(input_ids=ids_1T, use_cache=False).logits[0, -1]
            assert token == int(scores_V.argmax())
            ids_1T = torch.cat([ids_1T, torch.tensor([[token]])], dim=1)
    assert len(result["tokens"]) == 6
    assert captured.err.count("note: MambaForCausalLM: its scores with a cache are not") == 1
