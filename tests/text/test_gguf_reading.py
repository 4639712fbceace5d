"""GGUF files read as checkpoints, against numpy; and what is said of those that are not read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf_files import BLOCKS, HEADS, KEY_HEADS, WIDTH, byte_tokens, weights, write_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

import text.gguf_reading
from common.errors import UserError
from common.tools.cache import cache_root
from text.model import SOURCE, load_model, load_tokenizer, meta_model, resolve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERFITTING_CACHE", str(tmp_path / "cache"))


def from_interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns rows 0, 1 of a head together, then 2, 3; transformers its two halves."""
    by_head = rows.reshape(heads, -1, rows.shape[1])
    return np.concatenate([by_head[:, 0::2], by_head[:, 1::2]], axis=1).reshape(rows.shape)


def q8_0(values: np.ndarray) -> np.ndarray:
    """What blocks of 32 numbers, a float16 scale and 8-bit numbers each, leave of a matrix."""
    blocks = values.reshape(-1, 32).astype(np.float32)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    whole = np.where(scale > 0, blocks / np.where(scale > 0, scale, 1), 0)
    rounded = np.trunc(whole + np.copysign(0.5, whole))
    return (rounded * scale.astype(np.float16).astype(np.float32)).reshape(values.shape)


@pytest.mark.parametrize("quantised", [None, gguf.GGMLQuantizationType.Q8_0])
def test_weights_against_numpy(tmp_path: Path, quantised: gguf.GGMLQuantizationType | None) -> None:
    tensors = weights()
    model = load_model(str(write_llama(tmp_path / "m.gguf", tensors, quantised=quantised)))
    loaded = {name: value.numpy() for name, value in model.state_dict().items()}

    def check(name: str, want: np.ndarray) -> None:
        np.testing.assert_allclose(loaded[name], want, rtol=0, atol=1e-6, err_msg=name)

    through = q8_0 if quantised else lambda values: values
    check("model.embed_tokens.weight", through(tensors["token_embd.weight"]))
    check("lm_head.weight", loaded["model.embed_tokens.weight"])
    for block in range(BLOCKS):
        of, into = f"blk.{block}.", f"model.layers.{block}."
        query, key = (through(tensors[f"{of}attn_{x}.weight"]) for x in "qk")
        check(f"{into}self_attn.q_proj.weight", from_interleaved(query, HEADS))
        check(f"{into}self_attn.k_proj.weight", from_interleaved(key, KEY_HEADS))
        check(f"{into}mlp.down_proj.weight", through(tensors[f"{of}ffn_down.weight"]))
    assert model.dtype == torch.float32 and model.config.max_position_embeddings == 64


def test_the_cached_folder_is_a_plain_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_llama(tmp_path / "m.gguf", weights(), template="{{ messages[0]['content'] }}!")
    folder = Path(resolve(str(file)))
    assert folder.parent == cache_root() / "gguf"
    assert "note: reading m.gguf" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and "quantization_config" not in config
    assert (config["bos_token_id"], config["eos_token_id"]) == (257, 256)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template.endswith("!") and tokenizer.eos_token == "<|end|>"
    # Once only: neither for the other readers nor for a copy of the file.
    monkeypatch.setattr(text.gguf_reading, "convert", None)
    copy = Path(shutil.copy(file, tmp_path / "copy.GGUF"))
    assert resolve(str(copy)) == str(folder)
    assert load_tokenizer(str(file)).get_vocab() == tokenizer.get_vocab()
    assert {p.device.type for p in meta_model(str(file)).parameters()} == {"meta"}
    assert SOURCE.origin(str(file)).sha256 == folder.name.partition("-")[0]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("adds", [False, True])
def test_texts_begin_as_the_file_says(tmp_path: Path, adds: bool) -> None:
    file = write_llama(tmp_path / "m.gguf", weights(), adds_bos=adds)
    begin = [257] if adds else []
    assert load_tokenizer(str(file))("h")["input_ids"] == [*begin, byte_tokens().index("h")]


def test_what_lies_beside_the_file_has_no_part_in_it(tmp_path: Path) -> None:
    file = write_llama(tmp_path / "m.gguf", weights())
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "h", "chat_template": "x"}')
    (tmp_path / "chat_template.jinja").write_text("x")
    tokenizer = load_tokenizer(str(file))
    assert tokenizer.chat_template is None and tokenizer.eos_token == "<|end|>"


def test_a_damaged_folder_is_made_again(tmp_path: Path) -> None:
    file = str(write_llama(tmp_path / "m.gguf", weights()))
    safetensors = Path(resolve(file)) / "model.safetensors"
    whole = safetensors.read_bytes()
    safetensors.write_bytes(whole[:-10])
    load_model(file)
    assert safetensors.read_bytes() == whole


def ids(tmp_path: Path, text: str, pre: str | None) -> list[str]:
    file = write_llama(tmp_path / f"{pre}.gguf", weights(), pre=pre)
    tokens = byte_tokens()
    return [tokens[number] for number in load_tokenizer(str(file))(text)["input_ids"]]


def test_text_is_cut_by_the_named_rule(tmp_path: Path) -> None:
    assert ids(tmp_path, "he <think>1<|end|>", "gpt-2") == ["he", "Ġ", "<think>", "1", "<|end|>"]
    assert ids(tmp_path, "he", None) == ["he"]
    rules = {pre: load_rule(tmp_path, pre) for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2")}
    text = "In  2024!"
    assert rules["gpt-2"](text) == ["In", "Ġ", "Ġ2024", "!"]
    assert rules["smollm"](text) == ["In", "ĠĠ", "2", "0", "2", "4", "!"]
    assert rules["llama-bpe"](text) == ["In", "ĠĠ"[:1], "Ġ", "202", "4", "!"]
    assert rules["qwen2"](text) == ["In", "Ġ", "Ġ", "2", "0", "2", "4", "!"]


def load_rule(tmp_path: Path, pre: str) -> Any:
    file = write_llama(tmp_path / f"{pre}.gguf", weights(), pre=pre)
    tokenizer: Any = load_tokenizer(str(file))
    backend = tokenizer.backend_tokenizer
    assert backend.model.ignore_merges == (pre == "llama-bpe")
    return lambda text: [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]


def bad_file(tmp_path: Path, how: str) -> Path:
    file, tensors = tmp_path / "m.gguf", weights()
    if how in ("empty", "no gguf"):
        file.write_bytes(b"" if how == "empty" else b"not what was meant")
        return file
    if how == "mark alone":
        file.write_bytes(b"GGUF")
        return file
    if how == "biases":
        tensors["blk.0.attn_q.bias"] = np.ones(WIDTH, np.float32)
    if how == "stretched":
        tensors["rope_freqs.weight"] = np.ones(8, np.float32)
    if how == "lacking":
        del tensors["blk.1.ffn_up.weight"]
    if how == "other shape":
        tensors["blk.1.ffn_up.weight"] = np.ones((8, 8), np.float32)
    arch = {"unknown": "nosuch", "t5": "t5"}.get(how, "llama")
    scaled = {"llama.rope.scaling.type": "yarn"} if how == "yarn" else None
    write_llama(
        file, tensors, arch=arch, strings=scaled, pre="nosuch" if how == "rule" else "gpt-2"
    )
    whole = file.read_bytes()
    if how == "cut weights":
        file.write_bytes(whole[:-5000])
    if how == "cut head":
        file.write_bytes(whole[:700])
    return file


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "no GGUF: it begins with b''"),
        ("no gguf", "no GGUF: it begins with b'not '"),
        ("mark alone", "damaged or truncated"),
        ("cut weights", "damaged or truncated"),
        ("cut head", "damaged or truncated"),
        ("unknown", "architecture nosuch is not supported"),
        ("t5", "'m.gguf' of type 't5'"),
        ("lacking", "1 weights are missing or of another shape, such as model.layers.1.mlp.up"),
        ("other shape", "1 weights are missing or of another shape, such as model.layers.1.mlp.up"),
        ("biases", "would drop the rest"),
        ("stretched", "with 'rope_freqs.weight'"),
        ("yarn", "with 'llama.rope.scaling.type'"),
        ("rule", "with the pre-tokenizer 'nosuch'"),
    ],
)
def test_a_file_that_is_not_read_is_told_in_one_line(
    tmp_path: Path, how: str, message: str
) -> None:
    file = str(bad_file(tmp_path, how))
    for load in (load_tokenizer, meta_model, load_model):
        with pytest.raises(UserError) as caught:
            load(file)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    left = [path.name for path in (cache_root() / "gguf").glob("*") if path.suffix != ".lock"]
    assert not left


@pytest.mark.parametrize("path", ["nosuch.gguf", "no/such.gguf"])
def test_a_missing_file_is_no_hub_id(path: str) -> None:
    with pytest.raises(UserError, match="a .gguf file, or a hub id .* which does not exist"):
        resolve(path)
