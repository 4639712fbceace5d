"""`python -m image.tokenize` from end to end on tiny images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_tokenizer import SIZE, FakeExtractor, blobs

import image.tokenizer.run
from common.errors import run_cli
from common.tools.jsonl import read_jsonl
from image.pictures.load import LabelledImages
from image.tokenize import main
from image.tokenizer.config import TokenizeConfig, check_ranges
from image.tokenizer.load import load_tokenizer
from image.tokenizer.quality import (
    measure_tokenizer,
)
from image.tokenizer.run import comparison
from image.tokenizer.vq import VQTokenizer

OPTIONS: dict[str, Any] = {
    "size": SIZE,
    "count": 24,
    "heldout_count": 12,
    "codes": 24,
    "embed_dim": 4,
    "channels": "[8, 8, 12]",
    "groups": 4,
    "batch_size": 4,
    "updates": 10,
    "warmup_updates": 2,
    "quantise_from": 4,
    "learning_rate": 3e-3,
    "restart_after": 2,
    "extractor": "null",
    "perceptual_weight": 0,
    "log_every": 2,
    "checkpoint_every": 4,
    "validate_every": 5,
    "device": "cpu",
}
SMALL = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


class Finished(NamedTuple):
    """A finished run: its folder, what it printed and what it told on the way."""

    out: Path
    printed: dict[str, Any]
    told: str


@pytest.fixture(autouse=True, scope="module")
def images() -> Iterator[None]:
    """Stands in for the data sets."""

    def load(
        spec: str, *, split: str, count: int, seed: int, size: int, root: Path
    ) -> LabelledImages:
        pixels = blobs(count, size=size, seed=2 * seed + (7 if spec == "same" else len(split)))
        return LabelledImages(
            images_NCHW=pixels,
            labels_N=None,
            class_names=(),
            source=f"{spec} {split}",
            notes=(f"{split} images were cut",),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image.tokenizer.run, "load_images", load)
        patch.setattr("image.inputs.check_folder", lambda _: None)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("finished") / "run"
    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told):
        assert main(["--out", str(out), *SMALL, "--json"]) == 0
    return Finished(out, json.loads(printed.getvalue()), told.getvalue())


def test_artefacts(finished: Finished) -> None:
    out, printed = finished.out, finished.printed
    result = json.loads((out / "tokenize.json").read_text(encoding="utf-8"))
    assert result == printed
    assert (result["updates"], result["images"], result["heldout_images"]) == (10, 40, 12)
    assert result["provenance"]["command"][0] == "python -m image.tokenize"
    assert "reconstruction" not in result["heldout"]

    tokenizer = load_tokenizer(str(out / "model"))
    assert (tokenizer.vocab_size, tokenizer.grid, tokenizer.image_size) == (24, 4, SIZE)
    assert tokenizer.fingerprint == result["fingerprint"]
    heldout = blobs(12, seed=len("heldout"))
    assert measure_tokenizer(tokenizer, heldout).to_json() == result["heldout"]

    history = read_jsonl(out / "history.jsonl")
    lines = [row for row in history if row["kind"] == "update"]
    assert [row["update"] for row in lines] == [2, 4, 6, 8, 10]
    assert "usage" not in lines[1] and "stability" not in lines[1]
    for row in lines[2:]:
        assert 0 < row["usage"] <= 1 and 1 <= row["perplexity"] <= 24 and row["restarts"] >= 0
        assert row["commitment"] > 0 and row["stability"] > 0
    assert lines[-1]["l1"] < lines[0]["l1"]
    points = [row for row in history if row["kind"] == "epoch"]
    assert [row["update"] for row in points] == [6, 10]
    assert all(0 <= row["stability"] <= 1 and row["psnr_db"] > 0 for row in points)
    with Image.open(out / "grid.png") as sheet:
        assert sheet.size == (12 * (3 * SIZE + 2) + 2, 2 * (3 * SIZE + 2) + 2)


def test_progress_tells_usage_perplexity_and_psnr(finished: Finished) -> None:
    (line,) = [line for line in finished.told.splitlines() if "10/10" in line]
    for word in ("l1 ", "usage ", "perplexity ", "psnr ", "stable "):
        assert word in line
    assert "12 held-out images: PSNR" in finished.told


def test_resume_gives_the_same_files(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = finished.out
    train = image.tokenizer.run.TokenizerTraining._train_one_update

    def interrupted(loop: Any, **options: Any) -> Any:
        if loop.update == 7:
            raise KeyboardInterrupt
        return train(loop, **options)

    out = tmp_path / "run"
    argv = ["--out", str(out), *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(image.tokenizer.run.TokenizerTraining, "_train_one_update", interrupted)
        assert run_cli(main, argv) == 130
    assert not (out / "tokenize.json").exists()
    assert main([*argv, "--resume"]) == 0
    for name in ("model/diffusion_pytorch_model.safetensors", "grid.png"):
        assert (out / name).read_bytes() == (done / name).read_bytes()
    kept, again = (
        [
            {key: value for key, value in row.items() if key != "images_per_second"}
            for row in read_jsonl(folder / "history.jsonl")
            if row["kind"] != "event"
        ]
        for folder in (done, out)
    )
    assert kept == again


def test_interrupt_saves_at_the_next_log_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked:
        requested = False

    asked = Asked()

    class Deferred:
        def __enter__(self) -> Asked:
            return asked

        def __exit__(self, *_details: object) -> None:
            return None

    train = image.tokenizer.run.TokenizerTraining._train_one_update

    def ask(loop: Any, **options: Any) -> Any:
        asked.requested = loop.update == 6
        return train(loop, **options)

    monkeypatch.setattr("common.hyperfit.session.deferred_interrupt", Deferred)
    monkeypatch.setattr(image.tokenizer.run.TokenizerTraining, "_train_one_update", ask)
    out = tmp_path / "run"
    argv = ["--out", str(out), *SMALL]
    argv[argv.index("--log_every") + 1] = "7"
    assert run_cli(main, argv) == 130
    assert (out / "checkpoints" / "update-00000007.pt").is_file()


def test_fidelity_is_labelled_and_the_perceptual_term_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.tokenizer.run, "load_extractor", lambda name, device: FakeExtractor())
    out = tmp_path / "run"
    options = ["--extractor", "offline", "--perceptual_weight", "2"]
    assert main(["--out", str(out), *SMALL, *options]) == 0
    result = json.loads((out / "tokenize.json").read_text(encoding="utf-8"))
    heldout = blobs(12, seed=len("heldout"))
    tokenizer = load_tokenizer(str(out / "model"))
    decoded = tokenizer.decode(tokenizer.encode(heldout))
    real, fake = (FakeExtractor().features(some).double().numpy() for some in (heldout, decoded))
    covariances = [np.cov(features, rowvar=False) for features in (real, fake)]
    # Frechet distance of Gaussians; the product's eigenvalues are real and not negative.
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).clip(0).real)
    expected = np.square(real.mean(0) - fake.mean(0)).sum() - 2 * roots.sum()
    expected += np.trace(covariances[0] + covariances[1])
    score = result["heldout"]["reconstruction"]["fid[fake-net]"]
    assert score["mean"] == pytest.approx(expected, rel=1e-3)
    assert score["n"] == 12
    assert f"fid[fake-net] {score['mean']:.4f}" in capsys.readouterr().err
    rows = [row for row in read_jsonl(out / "history.jsonl") if row["kind"] == "update"]
    assert all(row["perceptual"] > 0 for row in rows)


def test_the_default_is_valid_and_small() -> None:
    config = TokenizeConfig()
    check_ranges(config)
    with torch.device("meta"):
        shape = image.tokenizer.run.fresh_model(config)
    tokenizer = VQTokenizer(shape)
    assert (tokenizer.grid, tokenizer.vocab_size, tokenizer.image_size) == (8, 512, 32)
    assert sum(weight.numel() for weight in shape.parameters()) * 4 < 6e6


def test_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.tokenizer.run, "tokenize", None)
    out = tmp_path / "run"
    argv = ["--out", str(out), *SMALL, "--data", "a", "--heldout", "b", "--dry-run"]
    assert main(argv) == 0
    stdout, stderr = capsys.readouterr()
    assert not stdout and not out.exists()
    assert "training on 24 images: a train" in stderr
    assert "measuring on 12 images: b heldout" in stderr
    assert "train images were cut" in stderr and "heldout images were cut" in stderr
    assert "4 x 4 codes out of 24; 10 updates of 4 images = 1.7 epochs" in stderr
    assert "GiB to train, on cpu" in stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch_size", "25"], "batch_size to be at most count, 24"),
        (["--codes", "65"], "at least 65 latents, one for each code; got 64 (4 images of 4 x 4)"),
        (["--codes", "1"], "codes to be from 2 to 1,048,576"),
        (["--quantise_from", "10"], "quantise_from to be from 0 to below 10"),
        (["--codebook_decay", "1"], "codebook_decay to be in [0, 1)"),
        (["--stability_weight", "-1"], "stability_weight to be at least 0"),
        (["--max_gradient_norm", "0"], "max_gradient_norm to be a positive number"),
        (["--heldout_count", "0"], "heldout_count to be at least 1"),
        (["--learning_rate", "0"], "learning_rate to be a positive number"),
        (["--perceptual_weight", "1"], "an extractor for the perceptual term"),
        (["--groups", "5"], "multiples of groups, 5"),
        (["--groups", "0"], "groups to be at least 1"),
        (["--size", "18"], "a size that is a multiple of 4"),
        (["--data", "same"], "12 of 12 from same heldout that equal a training image"),
        (["--device", "tpu"], "a device among cpu"),
        (["--colour", "red"], "options that python -m image.tokenize knows"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, list) else "",
)
def test_bad_input(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run_cli(main, ["--out", str(out), *SMALL, *options]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert message in errors[-1] and errors[-1].startswith("error: ") and not out.exists()


def test_an_extractor_without_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        name = "plain-net"

    monkeypatch.setattr(image.tokenizer.run, "load_extractor", lambda name, device: Plain())
    options = ["--extractor", "plain", "--perceptual_weight", "1", "--out", str(tmp_path / "run")]
    assert run_cli(main, [*SMALL, *options]) == 2
    assert "got plain-net, which has none" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run_cli(main, ["--out", str(out), *SMALL, "--learning_rate", "1e30"]) == 2
    assert "a finite training loss; got NaN at update" in capsys.readouterr().err
    assert not (out / "model").exists()
    assert read_jsonl(out / "history.jsonl")


def test_comparison_puts_originals_above_reconstructions() -> None:
    images = blobs(20, seed=1)
    sheet = np.asarray(comparison(images, 255 - images))
    step = 3 * SIZE + 2
    assert sheet.shape == (2 * step + 2, 16 * step + 2, 3)
    for column in (0, 15):
        left = 2 + column * step
        tiles = [sheet[2 + row * step :, left:][: 3 * SIZE : 3, : 3 * SIZE : 3] for row in (0, 1)]
        np.testing.assert_array_equal(tiles[0], images[column].permute(1, 2, 0).numpy())
        np.testing.assert_array_equal(tiles[1], 255 - tiles[0])
