"""Models written as GGUF files: the fields, the weights against numpy, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.errors import UserError
from common.record.provenance import ModelOrigin
from text.gguf_tokenizer import gguf_tokenizer
from text.gguf_writing import Dtype, write_gguf
from text.model import load_model, load_tokenizer
from text.pretokenizers import PRETOKENIZERS, named, rule_of

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.4,  # so that greedy tokens differ from step to step
}
ORIGIN = ModelOrigin(name="tiny", origin="Tiny by Nobody", licence="Apache-2.0")
TEXT = "Once upon a time, in 2024,  caf\u00e9 \u4f60\u597d \U0001f98a\n\nthe <|endoftext|> cat's 12"


def random_model(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def cut_as(tokenizer: PreTrainedTokenizerBase, name: str) -> PreTrainedTokenizerBase:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # pyright: ignore
    rule = named(name)
    assert rule is not None
    rule.put_into(backend)
    end = tokenizer.eos_token
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end
    )


def greedy(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    prompts = [tokenizer(text)["input_ids"] for text in (TEXT, "The hen")]
    return [
        generate(model, torch.tensor([ids]), new_tokens=32, method=greedy_config())[0].tolist()
        for ids in prompts
    ]


@pytest.mark.parametrize(
    ("kind", "vocabulary", "dtype"),
    [
        ("llama", "embedded", "f16"),
        ("llama", "tiny", "f32"),
        ("llama untied", "tiny", "f16"),
        ("qwen2", "tiny", "f32"),
    ],
)
def test_greedy_tokens_equal_the_models_through_transformers_reader(
    kind: str,
    vocabulary: str,
    dtype: Dtype,
    tmp_path: Path,
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer = load_tokenizer("embedded") if vocabulary == "embedded" else tiny_tokenizer
    make = LlamaConfig
    if kind == "qwen2":
        make, tokenizer = Qwen2Config, cut_as(tokenizer, "qwen2")
    # More rows than tokens, as in many checkpoints.
    tied = kind != "llama untied"
    config = make(vocab_size=len(tokenizer) + 8, tie_word_embeddings=tied, **SHAPE)
    model = random_model(config)
    write_gguf(model, tokenizer, tmp_path / "m.gguf", dtype=dtype, origin=ORIGIN)
    want, ids = greedy(model, tokenizer), tokenizer(TEXT)["input_ids"]
    assert len(set(want[0])) > 8  # no constant that anything would give
    options = {"gguf_file": "m.gguf"}
    read: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, **options)
    theirs = AutoTokenizer.from_pretrained(tmp_path, **options)
    assert theirs(TEXT)["input_ids"] == ids and greedy(read.eval(), theirs) == want
    # And the way of --model FILE.gguf.
    ours, cached = load_tokenizer(str(tmp_path / "m.gguf")), load_model(str(tmp_path / "m.gguf"))
    assert ours(TEXT)["input_ids"] == ids and ours.decode(ids) == TEXT
    assert greedy(cached, ours) == want
    state = model.state_dict()
    for name, value in cached.state_dict().items():
        rounded = state[name].half().float() if dtype == "f16" and value.ndim == 2 else state[name]
        assert torch.equal(value, rounded), name


def fields(file: Path) -> dict[str, Any]:
    return {key: field.contents() for key, field in GGUFReader(file).fields.items()}


def test_fields_and_layout(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    config = LlamaConfig(vocab_size=403, head_dim=16, rope_theta=5e4, rms_norm_eps=1e-4, **SHAPE)
    model = random_model(config)
    write_gguf(model, tiny_tokenizer, tmp_path / "m.gguf", dtype="f16", origin=ORIGIN)
    found = fields(tmp_path / "m.gguf")
    numbers = {
        "context_length": 64, "embedding_length": 32, "block_count": 2, "feed_forward_length": 48,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 16,
        "attention.value_length": 16, "rope.dimension_count": 16, "rope.freq_base": 5e4,
        "attention.layer_norm_rms_epsilon": 1e-4, "vocab_size": 403,
    }  # fmt: skip
    for key, value in numbers.items():
        assert found[f"llama.{key}"] == pytest.approx(value, rel=1e-6), key
    assert found["general.architecture"] == "llama" and found["general.file_type"] == 1
    assert found["general.name"] == "Tiny by Nobody" and found["general.license"] == "apache-2.0"
    assert found["tokenizer.ggml.model"] == "gpt2" and found["tokenizer.ggml.pre"] == "gpt-2"
    end = tiny_tokenizer.eos_token_id
    for name in ("bos", "eos", "padding"):
        assert found[f"tokenizer.ggml.{name}_token_id"] == end
    assert "tokenizer.ggml.unknown_token_id" not in found
    assert not found["tokenizer.ggml.add_bos_token"] and not found["tokenizer.ggml.add_eos_token"]
    tokens, types = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert tokens[:400] == tiny_tokenizer.convert_ids_to_tokens(list(range(400)))
    assert tokens[400:] == ["[PAD400]", "[PAD401]", "[PAD402]"] and types[400:] == [5, 5, 5]
    assert [number for number, kind in enumerate(types) if kind == 3] == [end]
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    assert "output.weight" in tensors and tensors["output_norm.weight"].tensor_type.name == "F32"
    # Row 2 i of a head is row i of transformers', row 2 i + 1 is row i + 8.
    theirs = model.model.layers[1].self_attn.k_proj.weight.detach().half().numpy()
    ours = np.asarray(tensors["blk.1.attn_k.weight"].data)
    for head in range(2):
        for row in range(16):
            from_row = 16 * head + row // 2 + 8 * (row % 2)
            assert np.array_equal(ours[16 * head + row], theirs[from_row])


def test_tokens_that_texts_begin_and_end_with(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer.backend_tokenizer,  # pyright: ignore
        bos_token="<|start|>",
        eos_token="<|endoftext|>",
    )
    tokenizer.add_tokens(["<note>"])
    tokenizer.chat_template = {"default": "{{ 1 }}", "tools": "{{ 2 }}"}
    from tokenizers.processors import TemplateProcessing

    number = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", number)]
    )
    found = gguf_tokenizer(tokenizer, rows=len(tokenizer))
    assert (found.adds_bos, found.adds_eos, found.chat_template) == (True, False, "{{ 1 }}")
    assert found.types[number] == 3 and found.types[found.tokens.index("<note>")] == 4


@pytest.mark.parametrize("rule", PRETOKENIZERS, ids=lambda rule: rule.names[0])
def test_a_rule_is_found_again(rule: Any) -> None:
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    rule.put_into(backend)
    assert rule_of(Tokenizer.from_str(backend.to_str())) == rule


def byte_level(**changes: Any) -> PreTrainedTokenizerBase:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    for name, value in changes.items():
        setattr(backend, name, value)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": models.WordLevel({"a": 0}, unk_token="a")}, "WordLevel"),
        ({"pre_tokenizer": pre_tokenizers.Whitespace()}, "another pre-tokenizer"),
        (
            {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)},
            "another pre-tokenizer",
        ),
        ({"normalizer": normalizers.Lowercase()}, "normalises texts first"),
        ({"normalizer": normalizers.NFC()}, "normalises texts first"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(changes: dict[str, Any], message: str) -> None:
    gguf_tokenizer(byte_level(), rows=256)
    with pytest.raises(UserError, match=message) as caught:
        gguf_tokenizer(byte_level(**changes), rows=256)
    assert "convert_hf_to_gguf.py" in str(caught.value)


LINEAR = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2), "type 'gpt2'"),
        (LlamaConfig(vocab_size=400, attention_bias=True, **SHAPE), "attention_bias True"),
        (LlamaConfig(vocab_size=400, mlp_bias=True, **SHAPE), "mlp_bias True"),
        (LlamaConfig(vocab_size=400, hidden_act="gelu", **SHAPE), "hidden_act 'gelu'"),
        (LlamaConfig(vocab_size=400, rope_parameters=LINEAR, **SHAPE), "of type 'linear'"),
        (Qwen2Config(vocab_size=400, use_sliding_window=True, **SHAPE), "use_sliding_window True"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    config: PretrainedConfig, message: str, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    file = tmp_path / "m.gguf"
    with pytest.raises(UserError, match=message) as caught:
        write_gguf(random_model(config), tiny_tokenizer, file, dtype="f32", origin=ORIGIN)
    assert "python convert_hf_to_gguf.py MODEL_FOLDER" in str(caught.value)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "told"), [(7e4, "70000"), (float("nan"), "not finite")])
def test_numbers_beyond_f16_are_refused(
    value: float, told: str, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    model = random_model(LlamaConfig(vocab_size=400, **SHAPE))
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] = value
    with pytest.raises(UserError, match=f"{told}.* in model.layers.1.mlp.up_proj.weight"):
        write_gguf(model, tiny_tokenizer, tmp_path / "m.gguf", dtype="f16", origin=ORIGIN)
    assert not list(tmp_path.iterdir())
    write_gguf(model, tiny_tokenizer, tmp_path / "m.gguf", dtype="f32", origin=ORIGIN)


def test_a_tokenizer_that_its_library_would_change_is_refused(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    """Qwen2's tokenizers cut as Qwen2's do, whatever their tokenizer.json says."""
    model = random_model(Qwen2Config(vocab_size=400, **SHAPE))
    write_gguf(model, tiny_tokenizer, tmp_path / "m.gguf", dtype="f32", origin=ORIGIN)
    with pytest.raises(UserError, match="whose pre-tokenizer is not the usual one"):
        load_tokenizer(str(tmp_path / "m.gguf"))
