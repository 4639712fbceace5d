"""`python -m image.tokenize` from end to end on tiny images, and the parts it is made of."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import VQModel
from PIL import Image
from torch import Tensor

import image.tokenize
from common.errors import UserError, run_cli
from common.jsonl import read_jsonl
from common.kmeans import nearest
from image.codebook import Codebook
from image.data import LabelledImages
from image.pixels import to_signed
from image.tokenize import comparison, main
from image.tokenize_config import TokenizeConfig, check_ranges
from image.tokenizer_loss import TokenizerLoss, perceptual_distance
from image.tokenizer_quality import (
    code_perplexity,
    measure_tokenizer,
    psnr_db,
    squared_errors,
)
from image.tokens import load_tokenizer
from image.vq import VQTokenizer, new_vq_model

SIZE = 16
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


def blobs(count: int, *, size: int = SIZE, seed: int = 0) -> Tensor:
    """Smooth coloured images, unlike noise something a small model can learn."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (smooth * 255).to(torch.uint8)


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
        patch.setattr(image.tokenize, "load_images", load)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("finished") / "run"
    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told):
        assert main(["--out", str(out), *SMALL, "--json"]) == 0
    return Finished(out, json.loads(printed.getvalue()), told.getvalue())


def tiny_model() -> VQModel:
    torch.manual_seed(0)
    model = new_vq_model(
        image_size=SIZE,
        codes=6,
        embed_dim=3,
        channels=(8, 8, 8),
        layers_per_block=1,
        groups=4,
    )
    model.quantize.embedding.weight.data.normal_(std=0.3)
    return model.requires_grad_(True)


# The command.


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
    train = image.tokenize.TokenizerTraining._train_one_update

    def interrupted(loop: Any, **options: Any) -> Any:
        if loop.update == 7:
            raise KeyboardInterrupt
        return train(loop, **options)

    out = tmp_path / "run"
    argv = ["--out", str(out), *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(image.tokenize.TokenizerTraining, "_train_one_update", interrupted)
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

    train = image.tokenize.TokenizerTraining._train_one_update

    def ask(loop: Any, **options: Any) -> Any:
        asked.requested = loop.update == 6
        return train(loop, **options)

    monkeypatch.setattr("image.tokenizer_training.deferred_interrupt", Deferred)
    monkeypatch.setattr(image.tokenize.TokenizerTraining, "_train_one_update", ask)
    out = tmp_path / "run"
    argv = ["--out", str(out), *SMALL]
    argv[argv.index("--log_every") + 1] = "7"
    assert run_cli(main, argv) == 130
    assert (out / "checkpoints" / "update-00000007.pt").is_file()


class FakeExtractor:
    """Six features: mean and spread of each colour; maps: the image and its half."""

    name, dim = "fake-net", 6

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        unit = images_NCHW.float() / 255
        return torch.cat([unit.mean((2, 3)), unit.std((2, 3))], 1)

    def maps(self, images_NCHW: Tensor) -> list[Tensor]:
        return [images_NCHW + 0.1, torch.nn.functional.avg_pool2d(images_NCHW + 0.1, 2)]


def test_fidelity_is_labelled_and_the_perceptual_term_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.tokenize, "load_extractor", lambda name, device: FakeExtractor())
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
        shape = image.tokenize.fresh_model(config)
    tokenizer = VQTokenizer(shape)
    assert (tokenizer.grid, tokenizer.vocab_size, tokenizer.image_size) == (8, 512, 32)
    assert sum(weight.numel() for weight in shape.parameters()) * 4 < 6e6


def test_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image.tokenize, "tokenize", None)
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
        (["--codes", "1"], "codes to be at least 2"),
        (["--quantise_from", "10"], "quantise_from to be from 0 to below 10"),
        (["--codebook_decay", "1"], "codebook_decay to be in [0, 1)"),
        (["--stability_weight", "-1"], "stability_weight to be a finite number of at least 0"),
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

    monkeypatch.setattr(image.tokenize, "load_extractor", lambda name, device: Plain())
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


# The codebook.


def test_codebook_starts_at_the_centres_of_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    latents = torch.cat([c + 0.1 * torch.randn(50, 2, generator=generator) for c in centres])
    rows = torch.zeros(4, 2)
    book = Codebook(rows, decay=0.9, restart_after=5, seed=1)
    book.start(latents, batch_latents=20, update=3)
    ids = nearest(latents, rows)
    for code in range(4):
        torch.testing.assert_close(rows[code], latents[ids == code].mean(0))
    assert book.counts_K.sum() == pytest.approx(20)
    torch.testing.assert_close(book.sums_KD, rows * book.counts_K[:, None])
    error = (latents - rows[ids]).square().sum(1).mean().item()
    first = latents[torch.randperm(200, generator=torch.Generator().manual_seed(1_000_006))[:4]]
    assert error < (latents - first[nearest(latents, first)]).square().sum(1).mean().item()


def test_codebook_follows_by_moving_averages() -> None:
    latents = torch.tensor([[0.0], [1.0], [10.0], [12.0]])
    rows = torch.zeros(2, 1)
    book = Codebook(rows, decay=0.75, restart_after=100, seed=0)
    book.start(latents, batch_latents=4, update=0)
    low, high = (int(nearest(torch.tensor([[x]]), rows)) for x in (0.5, 11.0))
    assert rows[low].item() == 0.5 and rows[high].item() == 11.0
    count, total = {low: 2.0, high: 2.0}, {low: 1.0, high: 22.0}
    for update, batch in enumerate(([1.0, 2.0, 9.0], [3.0, 8.0, 8.0], [1.0, 1.0, 1.0])):
        part = torch.tensor(batch)[:, None]
        ids = nearest(part, rows)
        book.follow(part, ids, update=update)
        for code in (low, high):
            mine = [x for x, i in zip(batch, ids.tolist(), strict=True) if i == code]
            count[code] = 0.75 * count[code] + 0.25 * len(mine)
            total[code] = 0.75 * total[code] + 0.25 * sum(mine)
            assert rows[code].item() == pytest.approx(total[code] / count[code])
    assert book.restarts == 0
    expected = torch.distributions.Categorical(torch.tensor([count[low], count[high]]))
    assert book.perplexity() == pytest.approx(expected.entropy().exp().item(), rel=1e-5)


def test_a_code_that_nothing_chooses_becomes_a_latent() -> None:
    latents = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    rows = torch.zeros(3, 1)
    book = Codebook(rows, decay=0.5, restart_after=2, seed=0)
    book.start(latents, batch_latents=4, update=0)
    batch = torch.tensor([[7.0], [7.5], [8.0]])
    chosen = torch.zeros(3, dtype=torch.int64)
    book.follow(batch, chosen, update=1)
    # After the update of number 1, two are done.
    assert book.restarts == 0 and book.usage(update=2, window=1) == pytest.approx(1 / 3)
    book.follow(batch, chosen, update=2)
    assert book.restarts == 2 and {x.item() for x in rows[1:]} <= {7.0, 7.5, 8.0}
    assert rows[1] != rows[2]
    book.follow(batch, chosen, update=3)
    assert book.restarts == 2 and book.usage(update=4, window=1) == pytest.approx(1 / 3)
    assert book.usage(update=4, window=2) == 1.0
    assert rows[0].item() > 6  # the one that is chosen keeps moving


# The loss.


@pytest.mark.parametrize("quantise", [True, False])
def test_loss_against_its_terms_by_hand(quantise: bool) -> None:
    model, images = tiny_model(), to_signed(blobs(3))
    loss = TokenizerLoss(
        maps=FakeExtractor().maps,
        perceptual_weight=0.7,
        commitment_weight=0.3,
        stability_weight=0.2,
    )
    parts = loss(model, images, quantise=quantise)
    with torch.no_grad():
        latents = model.encode(images).latents
        distances = (
            latents.permute(0, 2, 3, 1)[..., None, :] - model.quantize.embedding.weight
        ).norm(dim=-1)
        ids = distances.argmin(-1)
        entries = model.quantize.embedding.weight[ids].permute(0, 3, 1, 2)
        decoded: Any = model.decode(entries if quantise else latents, force_not_quantize=True)
        again = model.encode(decoded.sample.clamp(-1, 1)).latents
    expected = {
        "l1": (decoded.sample - images).abs().mean(),
        "perceptual": perceptual_distance(FakeExtractor().maps, decoded.sample, images),
    }
    weights = {"l1": 1.0, "perceptual": 0.7, "commitment": 0.3, "stability": 0.2}
    if quantise:
        spread = entries.var((0, 2, 3)).sum()  # the terms are free of the latents' scale
        expected["commitment"] = (latents - entries).square().sum(1).mean() / spread
        expected["stability"] = (again - entries).square().sum(1).mean() / spread
        assert parts.ids_M is not None and torch.equal(parts.ids_M, ids.flatten())
    else:
        assert parts.ids_M is None
    assert parts.terms.keys() == expected.keys()
    for name, value in expected.items():
        assert parts.terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = sum(weights[name] * value.item() for name, value in expected.items())
    assert parts.total.item() == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(
        parts.latents_MD, latents.permute(0, 2, 3, 1).flatten(0, 2), rtol=1e-4, atol=1e-5
    )
    parts.total.backward()
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0


def test_perceptual_distance_against_numpy() -> None:
    one, other = blobs(2, seed=1), blobs(2, seed=2)
    distance = perceptual_distance(FakeExtractor().maps, to_signed(one), to_signed(other))
    expected = []
    for scale in (1, 2):
        maps = []
        for pixels in (one, other):
            values = pixels.double().numpy() / 255 + 0.1
            side = SIZE // scale
            values = values.reshape(2, 3, side, scale, side, scale).mean((3, 5))
            maps.append(values / np.sqrt(np.square(values).sum(1, keepdims=True)))
        expected.append(np.abs(maps[0] - maps[1]).mean())
    assert distance.item() == pytest.approx(np.mean(expected), rel=1e-4)


# The figures.


def test_psnr() -> None:
    images = torch.full((3, 3, 4, 4), 100, dtype=torch.uint8)
    others = images.clone()
    others[1] += 5
    others[2, :, 0, 0] -= 16
    errors = squared_errors(images, others)
    np.testing.assert_allclose(errors, [0, 25, 16])
    np.testing.assert_allclose(
        psnr_db(errors), [20 * math.log10(255 * math.sqrt(12)), 20 * math.log10(51), 36.0896], 1e-5
    )


def test_perplexity_against_torch() -> None:
    counts = np.array([5, 0, 1, 3, 0])
    expected = torch.distributions.Categorical(torch.tensor(counts).double()).entropy().exp()
    assert code_perplexity(counts) == pytest.approx(expected.item())


class Halves:
    """Codes 0 to 3 stand for grey levels; level 2 is decoded wrongly, as 1."""

    vocab_size, grid, image_size, fingerprint = 8, 2, 2, "halves"

    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        return images_NCHW[:, 0].flatten(1).long() // 10

    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        grey = torch.where(ids_NL == 2, 1, ids_NL) * 10
        return grey.view(-1, 1, 2, 2).expand(-1, 3, 2, 2).to(torch.uint8)

    def save(self, folder: Path) -> None:
        raise AssertionError("not needed")


def test_measured_figures_by_hand() -> None:
    grey = torch.tensor([[0, 10, 20, 30], [0, 10, 10, 30]], dtype=torch.uint8)
    quality = measure_tokenizer(Halves(), grey.view(2, 1, 2, 2).expand(2, 3, 2, 2))
    assert quality.usage == 4 / 8
    assert (quality.stability.mean, quality.stability.n) == (7 / 8, 2)
    exact, off = 10 * math.log10(255**2 * 12), 10 * math.log10(255**2 / 25)
    assert quality.psnr_db.mean == pytest.approx((exact + off) / 2)
    assert quality.pooled_psnr_db == pytest.approx(10 * math.log10(255**2 / 12.5))
    shares = np.array([2, 3, 1, 2]) / 8
    assert quality.perplexity == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert "reconstructions_NCHW" not in quality.to_json()


def test_images_of_another_size_are_not_measured() -> None:
    with pytest.raises(UserError, match="16 x 16"):
        measure_tokenizer(VQTokenizer(tiny_model()), blobs(1, size=24))


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
