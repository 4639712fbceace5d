"""`python -m image.pretrain` from end to end on a few vignettes and a tiny random tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaForCausalLM

import image.pretraining
from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.errors import run_cli
from common.tools.options import parse
from image.model import OnlyCodes, check_fits, load_transformer, vocabulary
from image.pictures.load import LabelledImages, load_images
from image.pretrain import main
from image.pretrain_config import PretrainConfig
from image.pretraining import prepare
from image.tokenizer.load import load_tokenizer, tokenizer_of
from image.tokenizer.vq import VQTokenizer, new_vq_model

CODES, GRID, SIZE = 24, 4, 16
OPTIONS = {
    "count": 24,
    "heldout_count": 8,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "intermediate_size": 24,
    "batch_size": 8,
    "updates": 12,
    "warmup_updates": 1,
    "learning_rate": 1e-2,
    "log_every": 4,
    "checkpoint_every": 4,
    "validate_every": 4,
    "device": "cpu",
    "compile": "off",
}
SMALL = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


def save_tokenizer(folder: Path, seed: int) -> Path:
    """A random VQModel whose codebook is as wide as its latents, so that codes vary."""
    torch.manual_seed(seed)
    model = new_vq_model(
        image_size=SIZE,
        codes=CODES,
        embed_dim=4,
        channels=(4, 4, 4),
        layers_per_block=1,
        groups=2,
    )
    images = load_images(
        "embedded:vignettes", split="train", count=8, seed=1, size=SIZE, root=Path("unused")
    ).images_NCHW
    with torch.no_grad():
        encoded: Any = model.encode(images / 127.5 - 1)
        latents_MD = encoded.latents.movedim(1, -1).flatten(0, 2)
        model.quantize.embedding.weight.copy_(latents_MD[torch.randperm(len(latents_MD))[:CODES]])
    VQTokenizer(model.eval()).save(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer") / "vq", seed=0)


@pytest.fixture(scope="module")
def argv(tokenizer: Path) -> list[str]:
    return ["--tokenizer", str(tokenizer), *SMALL]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, argv: list[str]) -> Path:
    out = tmp_path_factory.mktemp("base") / "run"
    assert main([*argv, "--out", str(out), "--class_conditional"]) == 0
    return out


def prepared(argv: list[str], *more: str) -> Any:
    return prepare(parse(PretrainConfig, [*argv, *more], prog="test", description=""))


def test_artefacts(finished: Path, tokenizer: Path) -> None:
    result = json.loads((finished / "pretrain.json").read_text(encoding="utf-8"))
    assert result["updates"] == 12 and result["tokens"] == 12 * 8 * (1 + GRID**2)
    before, after = (result[f"heldout_{when}"]["loss_nats"]["mean"] for when in ("before", "after"))
    assert after < before - 0.1
    assert result["class_names"] == ["dawn", "day", "dusk", "night"]
    assert result["tokenizer_fingerprint"] == load_tokenizer(str(tokenizer)).fingerprint
    assert result["provenance"]["command"][0] == "python -m image.pretrain"
    assert (finished / "history.jsonl").exists()


def test_the_saved_model_knows_its_tokenizer_and_classes(
    finished: Path, tokenizer: Path, tmp_path: Path
) -> None:
    model = load_transformer(str(finished / "model"))
    assert isinstance(model, LlamaForCausalLM)
    assert vocabulary(model).class_names == ("dawn", "day", "dusk", "night")
    for path in (str(tokenizer), tokenizer_of(str(finished / "model"))):
        check_fits(model, load_tokenizer(path))
    with pytest.raises(ValueError, match="the tokenizer that the model was trained with"):
        check_fits(model, load_tokenizer(str(save_tokenizer(tmp_path, seed=5))))
    plain = AutoModelForCausalLM.from_pretrained(finished / "model")
    assert plain.dtype == torch.bfloat16 and plain.config.vocab_size == CODES + 1 + 4
    assert plain.generation_config.bos_token_id == CODES


def test_it_draws_images_that_can_be_decoded(finished: Path, tokenizer: Path) -> None:
    model = load_transformer(str(finished / "model"))
    first_N1 = torch.arange(4)[:, None] + vocabulary(model).start + 1
    ids = generate(
        model,
        first_N1,
        new_tokens=GRID**2,
        method=greedy_config(),
        processors=[OnlyCodes(CODES)],
    )
    drawn = load_tokenizer(str(tokenizer)).decode(torch.from_numpy(np.stack(ids)))
    assert drawn.shape == (4, 3, SIZE, SIZE) and drawn.dtype == torch.uint8


def test_sequences_are_codes_behind_the_start_token(argv: list[str], tokenizer: Path) -> None:
    task = prepared(argv)
    train_NT, heldout_NT = task.ids()
    assert train_NT.shape == (24, 1 + GRID**2) == (task.sequences, task.length)
    assert heldout_NT.shape == (8, 1 + GRID**2)
    assert set(train_NT[:, 0].tolist()) == {CODES}
    vq = load_tokenizer(str(tokenizer))
    images = load_images(
        "embedded:vignettes", split="train", count=24, seed=0, size=SIZE, root=Path("data")
    ).images_NCHW
    assert torch.equal(train_NT[:, 1:], vq.encode(images))
    assert len(train_NT[:, 1:].unique()) > 4
    assert task.model().config.vocab_size == CODES + 1
    assert task.model().config.max_position_embeddings >= GRID**2


def test_class_tokens_are_the_labels(argv: list[str]) -> None:
    task = prepared(argv, "--class_conditional")
    labels_N = load_images(
        "embedded:vignettes", split="train", count=24, seed=0, size=SIZE, root=Path("data")
    ).labels_N
    assert labels_N is not None and len(labels_N.unique()) > 1
    assert torch.equal(task.ids()[0][:, 0], CODES + 1 + labels_N)


def test_flip_adds_the_mirror_images(argv: list[str], tokenizer: Path) -> None:
    task = prepared(argv, "--flip", "--class_conditional")
    train_NT, heldout_NT = task.ids()
    assert task.sequences == len(train_NT) == 48 and len(heldout_NT) == 8
    assert torch.equal(train_NT[:24, 0], train_NT[24:, 0])
    images = load_images(
        "embedded:vignettes", split="train", count=24, seed=0, size=SIZE, root=Path("data")
    ).images_NCHW
    mirrored = torch.from_numpy(np.ascontiguousarray(images.numpy()[:, :, :, ::-1]))
    assert torch.equal(train_NT[24:, 1:], load_tokenizer(str(tokenizer)).encode(mirrored))
    assert torch.equal(train_NT[:24], prepared(argv, "--class_conditional").ids()[0])


def test_codes_are_kept(argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(argv, "--codes", str(tmp_path)).ids()
    assert len(list(tmp_path.iterdir())) == 2
    again = prepared(argv, "--codes", str(tmp_path))

    def refuse(*_: object, **__: object) -> Tensor:
        raise AssertionError("encoded again")

    monkeypatch.setattr(VQTokenizer, "encode", refuse)
    for kept, computed in zip(again.ids(), first, strict=True):
        assert torch.equal(kept, computed)


def test_dry_run(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*argv, "--out", str(out), "--dry-run", "--flip"]) == 0
    stdout, stderr = capsys.readouterr()
    assert not stdout and not out.exists()
    assert "training on 48 images" in stderr and "held out 8" in stderr
    assert "16 codes each, out of 24" in stderr and "12 updates of 8 x 17 tokens" in stderr


def save_images(folder: Path, names: list[str], count: int = 6) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            noise = np.random.default_rng([*name.encode(), n])
            pixels = noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{n}.png")
    return folder


def test_images_without_classes_are_told(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = save_images(tmp_path / "flat", ["."], count=12)
    options = ["--data", str(flat), "--count", "8", "--heldout_count", "2"]
    more = ["--out", str(tmp_path / "run"), "--class_conditional"]
    assert run_cli(main, [*argv, *options, *more]) == 2
    assert "images with classes, for class_conditional" in capsys.readouterr().err


def test_held_out_images_that_are_trained_on_are_dropped(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_images(tmp_path / "both", ["hen", "owl"])
    options = ["--data", str(folder), "--heldout_count", "12", "--batch_size", "4", "--seed", "3"]
    task = prepared(argv, *options, "--count", "9")
    train_NT, heldout_NT = task.ids()
    assert (len(train_NT), len(heldout_NT)) == (9, 3)
    assert any("9 held-out images are training images" in note for note in task.notes)
    assert run_cli(main, [*argv, *options, "--count", "12", "--out", str(tmp_path / "run")]) == 2
    assert "held-out images that are not trained on; got 12 of 12" in capsys.readouterr().err


def test_other_classes_among_the_held_out_images_are_told(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def load(spec: str, *, split: str, count: int, size: int, **_: object) -> LabelledImages:
        names = ("hen", "fox") if split == "train" else ("hen", "owl")
        return LabelledImages(
            images_NCHW=torch.zeros(count, 3, size, size, dtype=torch.uint8),
            labels_N=torch.arange(count) % 2,
            class_names=names,
            source=split,
        )

    monkeypatch.setattr(image.pretraining, "load_images", load)
    monkeypatch.setattr("image.inputs.check_folder", lambda _: None)
    assert run_cli(main, [*argv, "--out", str(tmp_path / "run"), "--class_conditional"]) == 2
    assert "of the classes hen, fox; got hen, owl in heldout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "count to be at least 1"),
        (["--heldout_count", "0"], "heldout_count to be at least 1"),
        (["--batch_size", "25"], "batch_size of at most the 24 training sequences"),
        (["--hidden_size", "18"], "multiple of 2 x heads"),
        (["--tokenizer", "./nowhere"], "'./nowhere'"),
        (["--data", "./nowhere"], "nowhere"),
        (["--length", "3"], "options that python -m image.pretrain knows"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else "",
)
def test_bad_input(
    options: list[str],
    message: str,
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert run_cli(main, [*argv, "--out", str(out), *options]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert message in errors[-1] and errors[-1].startswith("error: ") and not out.exists()
