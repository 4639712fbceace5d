"""The embedded corpora and base model are what the documentation says."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from common.decode.methods import NEUTRAL
from common.measure.probe import probe_sequences
from text.config import CorpusConfig
from text.corpus import read_documents
from text.data import load_data
from text.model import load_model, load_tokenizer, meta_model

ASSETS = Path(str(files("text") / "assets"))
SIZES = {"tales": 160, "stories": 160, "news": 48, "encyclopedia": 48}
LEAST_TOKENS = {"tales": 256, "stories": 256, "news": 128, "encyclopedia": 128}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer("embedded")


@pytest.mark.parametrize("name", SIZES)
def test_corpus(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    raw = (ASSETS / f"{name}.jsonl").read_bytes()
    assert raw.isascii() and b"\\u" not in raw  # not even escaped
    documents = read_documents(f"embedded:{name}")
    assert len(documents) == SIZES[name] == len({d.id for d in documents})
    assert len({d.text for d in documents}) == SIZES[name]
    kind = "genre" if name in ("tales", "stories") else "topic"
    for line in raw.decode().splitlines():
        row = json.loads(line)
        assert row["title"] and row[kind] and row["text"] == row["text"].strip()
    lengths = [len(ids) for ids in tokenizer([d.text for d in documents])["input_ids"]]
    assert min(lengths) >= LEAST_TOKENS[name]


def test_the_default_data_fit_together(tokenizer: PreTrainedTokenizerBase) -> None:
    config = CorpusConfig()
    data = load_data(config, tokenizer, seed=0)  # refuses an overlap
    assert data.train.ids_NT.shape == (config.sequences, config.length)
    assert data.train.too_short == 0
    pooled = {s.name: len(s.references) for s in data.prompt_sets if s.pooled}
    assert pooled.keys() == {"fiction", "news", "encyclopedia"} and min(pooled.values()) >= 32
    assert "fiction-256" in {s.name for s in data.prompt_sets}


def test_base_model_is_small_and_neutral(tokenizer: PreTrainedTokenizerBase) -> None:
    model = meta_model("embedded")
    assert isinstance(model, LlamaForCausalLM)
    assert sum(p.numel() for p in model.parameters()) <= 16_000_000
    weights = ASSETS / "base" / "model.safetensors"
    assert weights.stat().st_size <= 32_000_000
    with safe_open(weights, framework="pt") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"BF16"}  # noqa: SIM118
    assert len(tokenizer) == model.config.vocab_size and tokenizer.eos_token_id is not None
    own = GenerationConfig.from_pretrained(ASSETS / "base").to_dict()
    changed = {n: own[n] for n, v in NEUTRAL.items() if own.get(n) not in (None, v)}
    assert not changed


@pytest.mark.slow
def test_base_model_predicts_the_held_out_tales(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [d.text for d in read_documents("embedded:tales")[-12:]]
    ids_NT = torch.tensor([ids[:256] for ids in tokenizer(texts)["input_ids"]])
    probe = probe_sequences(load_model("embedded"), ids_NT, batch_size=4)
    assert 1.0 < probe.loss_nats.mean < 4.3
