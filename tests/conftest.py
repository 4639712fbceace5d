"""A tiny tokenizer and tiny random checkpoints, for tests that run a command from end to end."""

from __future__ import annotations

import os

# Before torch is imported, and for the processes that tests start: on tiny models threads cost more
# than they gain, many times over where other programs run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from image.model import new_transformer
from image.tokenizer.load import TOKENIZER_FOLDER
from image.tokenizer.pixels import to_signed
from image.tokenizer.vq import VQTokenizer, new_vq_model, rounded
from image.vignettes.render import vignettes
from text.base_model import train_tokenizer
from text.corpus import read_documents

VOCABULARY = 400


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--bf16",
        choices=("auto", "on", "off"),
        default="auto",
        help="test as on an x86 CPU with or without bf16 units (emulated where there are none)",
    )


def pytest_configure(config: pytest.Config) -> None:
    units = config.getoption("--bf16")
    if units != "auto":
        torch.cpu._is_avx512_bf16_supported = lambda: units == "on"
        torch.cpu._is_amx_tile_supported = lambda: units == "on"


Save = Callable[[Path, PretrainedConfig], Path]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test, and no process that one starts, reads or fills the user's cache."""
    os.environ["HYPERFITTING_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    texts = [document.text for document in read_documents("embedded:tales")[:30]]
    return train_tokenizer(texts, vocab_size=VOCABULARY, context=64)


@pytest.fixture(scope="session")
def save_checkpoint(tiny_tokenizer: PreTrainedTokenizerBase) -> Save:
    """Writes random weights of a configuration, with the tiny tokenizer, and gives the folder."""

    def save(folder: Path, config: PretrainedConfig) -> Path:
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, save_checkpoint: Save) -> Path:
    """A random Llama with 2 blocks."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    return save_checkpoint(tmp_path_factory.mktemp("tiny") / "llama", config)


@pytest.fixture(scope="session")
def tiny_run() -> tuple[str, ...]:
    """Options that make `python -m text.run` small on a tiny checkpoint; add --model and --out."""
    options = {
        "data.train": '["embedded:tales"]',
        "data.heldout_documents": 8,
        "data.sequences": 12,
        "data.length": 24,
        "data.prompt_tokens": 6,
        "data.new_tokens": 10,
        "data.long_new_tokens": 20,
        "data.max_prompts": 8,
        "schedule.learning_rate": 1e-2,
        "schedule.target_loss": 5.0,
        "schedule.knee": 5.4,
        "schedule.hold": 1,
        "schedule.max_epochs": 60,
        "train.tune": "all",
        "train.batch_size": 4,
        "train.log_every": 2,
        "train.compile": "off",
        "measure.curve_prompts": 2,
        "device": "cpu",
    }
    return tuple(word for name, value in options.items() for word in (f"--{name}", str(value)))


IMAGE_SIZE, IMAGE_CODES = 16, 24


@pytest.fixture(scope="session")
def tiny_image_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with 2 blocks over 4 x 4 codes, and the random tokenizer of these."""
    torch.manual_seed(0)
    vq = new_vq_model(
        image_size=IMAGE_SIZE,
        codes=IMAGE_CODES,
        embed_dim=3,
        channels=(8, 8, 8),
        layers_per_block=1,
        groups=4,
    ).eval()
    with torch.no_grad():  # encoder outputs as rows of the codebook, so that many are chosen
        images_NCHW, _, _ = vignettes(500, 8, size=IMAGE_SIZE)
        rows = vq.encode(to_signed(images_NCHW)).latents.permute(0, 2, 3, 1).flatten(0, 2)
        vq.quantize.embedding.weight.data.copy_(rows[torch.randperm(len(rows))[:IMAGE_CODES]])
    tokenizer = VQTokenizer(rounded(vq))
    model = new_transformer(
        codes=IMAGE_CODES,
        classes=0,
        tokens=tokenizer.grid**2,
        hidden_size=32,
        layers=2,
        heads=2,
        intermediate_size=48,
    )
    model.config.image_tokenizer = tokenizer.fingerprint
    folder = tmp_path_factory.mktemp("tiny") / "image"
    model.save_pretrained(folder)
    tokenizer.save(folder / TOKENIZER_FOLDER)
    return folder


@pytest.fixture(scope="session")
def tiny_image_run() -> tuple[str, ...]:
    """Options that make `python -m image.run` small on a tiny checkpoint; add --model and --out."""
    options = {
        "data.sequences": 12,
        "data.prompts": 24,
        "data.references": 100,
        "schedule.learning_rate": 1e-2,
        "schedule.target_loss": 0.3,
        "schedule.max_epochs": 150,
        "train.batch_size": 6,
        "train.log_every": 2,
        "train.compile": "off",
        "measure.curve_prompts": 4,
        "measure.validation_sequences": 8,
        "device": "cpu",
    }
    return tuple(word for name, value in options.items() for word in (f"--{name}", str(value)))
