"""`python -m image.extractor` from end to end on two easy classes, and its parts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import image.extractor_training
from common.errors import UserError, run_cli
from common.tools.jsonl import read_jsonl
from image.extractor import main
from image.extractor_training import augment
from image.measure.features import load_extractor
from image.measure.offline_network import load_network

OPTIONS = {
    "count": 40,
    "heldout_count": 20,
    "size": 12,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.05,
    "stem_width": 8,
    "widths": "[8, 16]",
    "log_every": 2,
    "name": "tiny-net",
    "device": "cpu",
}
SMALL = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


def write_images(folder: Path, classes: dict[str, tuple[int, int, int]], count: int) -> Path:
    """Noise around one colour per class."""
    draw = np.random.default_rng(list(folder.name.encode()))
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for n in range(count):
            noise = draw.integers(-40, 40, (12, 12, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{n:03}.png")
    return folder


COLOURS = {"blue": (60, 90, 180), "red": (180, 90, 60)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    top = tmp_path_factory.mktemp("images")
    training = write_images(top / "train", COLOURS, 20)
    heldout = write_images(top / "other", COLOURS, 10)
    return ["--data", str(training), "--heldout", str(heldout)]


@pytest.fixture(scope="module")
def run(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "extractor"
    assert run_cli(main, [*folders, *SMALL, "--out", str(out)]) == 0
    return out


def test_it_learns_two_colours_and_records_how_well(run: Path) -> None:
    result = json.loads((run / "extractor.json").read_text())
    assert result["accuracy"] >= 0.9 and result["accuracy_n"] == 20
    assert (result["updates"], result["features"], result["name"]) == (15, 16, "tiny-net")
    network, shape = load_network(run / "model")
    assert result["parameters"] == sum(p.numel() for p in network.parameters())
    assert shape.classes == ("blue", "red")
    assert result["provenance"]["seed"] == 0


def test_the_history_holds_losses_rates_and_accuracies(run: Path) -> None:
    records = read_jsonl(run / "history.jsonl")
    updates = [r for r in records if r["kind"] == "update"]
    assert [r["update"] for r in updates] == list(range(2, 15, 2))
    assert updates[-1]["loss"] < updates[0]["loss"]
    rates = [r["learning_rate"] for r in updates]
    assert max(rates) <= 0.05 and rates[0] > rates[-1]
    assert [r["epoch"] for r in records if r["kind"] == "epoch"] == [1, 2, 3]


def test_what_it_writes_is_an_extractor_with_its_name(run: Path) -> None:
    extractor = load_extractor(f"offline:{run / 'model'}")
    assert (extractor.name, extractor.dim) == ("tiny-net", 16)


def test_the_colours_are_normalised_by_those_of_the_training_images(run: Path) -> None:
    _, shape = load_network(run / "model")
    np.testing.assert_allclose(np.array(shape.mean) * 255, (120, 90, 120), atol=3)


def test_the_same_seed_gives_the_same_network(
    run: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        argv = [*folders, *SMALL, "--out", str(out), "--seed", str(seed), "--json"]
        assert run_cli(main, argv) == 0
        assert json.loads(capsys.readouterr().out)["config"]["seed"] == seed
        weights = [(p / "model" / "extractor.safetensors").read_bytes() for p in (run, out)]
        assert (weights[0] == weights[1]) is same


def test_a_dry_run_writes_nothing(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_cli(main, [*folders, *SMALL, "--out", str(out), "--dry-run"]) == 0
    assert not out.exists()
    assert "40 images of 2 classes, 20 held out" in capsys.readouterr().err


def test_augmentation_moves_and_mirrors_whole_images() -> None:
    """Every result is some window of the padded image or of its mirror image; all kinds occur."""
    pixels_CHW = torch.arange(1, 1 + 3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)
    padded_CHW = torch.nn.functional.pad(pixels_CHW, [image.extractor_training.CROP_PIXELS] * 4)
    windows = {
        (top, left, mirrored): window.flip(2) if mirrored else window
        for top in range(9)
        for left in range(9)
        for mirrored in (False, True)
        for window in [padded_CHW[:, top : top + 8, left : left + 8]]
    }
    results = augment(pixels_CHW.expand(600, -1, -1, -1), torch.Generator().manual_seed(0))
    seen = set()
    for result_CHW in results:
        (kind,) = [key for key, window in windows.items() if torch.equal(window, result_CHW)]
        seen.add(kind)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_images_that_are_trained_on_are_not_measured(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = write_images(tmp_path / "mixed", COLOURS, 8)
    for n in range(2):
        copy = Path(folders[1]) / "red" / f"{n:03}.png"
        (mixed / "red" / f"copy{n}.png").write_bytes(copy.read_bytes())
    argv = ["--data", folders[1], "--heldout", str(mixed), *SMALL, "--heldout_count", "18"]
    assert run_cli(main, [*argv, "--dry-run"]) == 0
    printed = capsys.readouterr().err
    assert "2 held-out images are training images and were dropped" in printed
    assert "16 held out" in printed


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", "0"),
        ("heldout_count", "0"),
        ("size", "4"),
        ("batch_size", "1"),
        ("batch_size", "41"),
        ("learning_rate", "0"),
        ("weight_decay", "-1"),
        ("label_smoothing", "1"),
        ("widths", "[]"),
        ("widths", "[12]"),
        ("name", "My Net"),
        ("log_every", "0"),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: str) -> None:
    with pytest.raises(UserError, match=f"expected {option} .*change --{option}"):
        main(["--data", "x", *SMALL, f"--{option}", value])


def test_data_must_be_named() -> None:
    with pytest.raises(UserError, match="expected --data SOURCE"):
        main(SMALL)


def test_classes_must_be_there_and_the_same(folders: list[str], tmp_path: Path) -> None:
    other = write_images(tmp_path / "other", {"blue": (0, 0, 200), "green": (0, 200, 0)}, 10)
    flat = write_images(tmp_path / "flat", {".": (0, 0, 200)}, 40)
    for data, heldout in ((folders[1], str(other)), (str(flat), str(flat))):
        with pytest.raises(UserError, match="expected training and held-out images of the same"):
            main(["--data", data, "--heldout", heldout, *SMALL, "--out", str(tmp_path / "out")])


def test_a_rate_too_high_is_told(folders: list[str], tmp_path: Path) -> None:
    argv = [*folders, *SMALL, "--learning_rate", "1e30", "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="expected a finite training loss; .*--learning_rate"):
        main(argv)
