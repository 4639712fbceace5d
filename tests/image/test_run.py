"""`python -m image.run` and `image.generate` from end to end on a tiny random checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, ImageGPTConfig, ImageGPTImageProcessor
from transformers.models.imagegpt import ImageGPTForCausalImageModeling

import common.record.run_folder
import image.generate
from common.errors import run_cli
from common.tools.jsonl import read_jsonl
from image.run import main
from image.tokenizer.load import TOKENIZER_FOLDER, load_tokenizer
from image.tokenizer.vq import new_vq_model
from image.vignettes.render import vignettes

SCHEMA = Path(common.record.run_folder.__file__).parent / "schema" / "metrics.schema.json"
CONDITIONS = [
    "original-greedy",
    "original-sampled",
    "original-sampled-t1",
    "original-repetition-penalty",
    "early-stopped-greedy",
    "hyperfitted-greedy",
    "hyperfitted-greedy-blocked",
    "hyperfitted-sampled",
    "reconstruction",
    "real",
]
CODES, GIVEN = 16, 4


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_image_checkpoint: Path,
    tiny_image_run: tuple[str, ...],
) -> Path:
    """A finished run; not to be changed by a test."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["--model", str(tiny_image_checkpoint), "--out", str(out), *tiny_image_run]) == 0
    return out


@pytest.fixture(scope="module")
def metrics(finished: Path) -> dict[str, Any]:
    return json.loads((finished / "metrics.json").read_text(encoding="utf-8"))


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str], command: Any = main) -> str:
    """The one error line of a command that is refused with exit code 2."""
    assert run_cli(command, arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected" in last and "got" in last, last
    return last


def test_every_condition_has_every_metric(metrics: dict[str, Any]) -> None:
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert metrics["domain"] == "image" and list(metrics["conditions"]) == CONDITIONS
    for name, sets in metrics["conditions"].items():
        assert sets["all"] == sets["heldout"]
        assert set(sets["all"]) >= {
            "code_ttr",
            "flat_share",
            "vertical_equal_share",
            "copy_rate",
            "distinct_images",
            "overlap_tokens",
            "fid[cifar-net]",
            "kid[cifar-net]",
            "kid_sd[cifar-net]",
            "precision[cifar-net]",
            "recall[cifar-net]",
        }, name
        assert {metric["n"] for metric in sets["all"].values()} == {24}


def test_training_reaches_its_target_on_the_completed_codes(metrics: dict[str, Any]) -> None:
    training = metrics["training"]
    assert training["outcome"] == "reached" and training["final_loss"] <= 0.3
    assert training["sequences"] == 12 and training["tokens_per_sequence"] == 1 + CODES


def test_references_are_the_truth(finished: Path, metrics: dict[str, Any]) -> None:
    real, decoded = (metrics["conditions"][c]["all"] for c in ("real", "reconstruction"))
    assert real["code_ttr"] == decoded["code_ttr"]  # the same codes ...
    assert real["fid[cifar-net]"]["mean"] < decoded["fid[cifar-net]"]["mean"]  # ... other pixels
    images_NCHW, _, _ = vignettes(10_000_000, 200, size=16)
    tokenizer = load_tokenizer(str(finished / "model" / TOKENIZER_FOLDER))
    known = {tuple(row[GIVEN:]) for row in tokenizer.encode(images_NCHW).tolist()}
    rows = [r for r in read_jsonl(finished / "samples.jsonl") if r["condition"] == "real"]
    assert len(rows) == 24 and all(len(row["tokens"]) == CODES - GIVEN for row in rows)
    assert {tuple(row["tokens"]) for row in rows} <= known


def test_entropy_is_known_at_every_completed_code(metrics: dict[str, Any]) -> None:
    for model in ("original", "early-stopped", "hyperfitted"):
        values = metrics["by_position"][model]["entropy_nats"]
        assert len(values) == CODES - GIVEN
        mean = metrics["probe"][model]["entropy_nats"]
        assert np.mean(values) == pytest.approx(mean, abs=1e-4)


def test_pictures_show_prompt_truth_and_nearest_training_image(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    for label in ("prompt", "hyperfitted greedy", "real", "nearest training image"):
        assert f">{label}</th>" in page
    # Of both sampled conditions, in the head of the pictures; a part to a line.
    assert ">original,<br>top-p 0.9,<br>T 0.7,<br>top-k 50</th>" in page
    assert ">original,<br>sampled,<br>T 1</th>" in page
    # 12 prompts in 12 columns.
    assert page.count("data:image/png;base64,") == 12 * 12
    assert "FID-24 [cifar-net]" in page and "Entropy over the image" in page
    assert "https://" not in page.split("<pre")[0]
    names = {path.name for path in (finished / "pictures").iterdir()}
    assert names == {"comparison.png", *(f"{condition}.png" for condition in CONDITIONS)}
    with Image.open(finished / "pictures" / "real.png") as sheet:
        pixels = np.asarray(sheet)
    first_NCHW, _, _ = vignettes(10_000_000, 200, size=16)
    corner = pixels[2:34:2, 2:34:2].transpose(2, 0, 1)
    assert any(np.array_equal(corner, candidate.numpy()) for candidate in first_NCHW)


def test_saved_model_loads_and_completes_as_measured(finished: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    rows = read_jsonl(finished / "samples.jsonl")
    row = next(r for r in rows if r["condition"] == "hyperfitted-greedy")
    prompt = [int(code) for code in row["prompt"].split()]
    assert len(prompt) == 1 + GIVEN
    made = model.generate(
        torch.tensor([prompt]), max_new_tokens=CODES - GIVEN, suppress_tokens=[prompt[0]]
    )
    assert made[0, 1 + GIVEN :].tolist() == row["tokens"]
    card = (finished / "model" / "README.md").read_text(encoding="utf-8")
    assert "code TTR" in card and "copy rate" in card


def test_generate_completes_with_the_run_s_model(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "completed.png"
    arguments = ["--model", str(finished / "model"), "--count", "3", "--out", str(out)]
    assert image.generate.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert np.array(told["codes"]).shape == (3, CODES) and told["given"] == GIVEN
    assert out.is_file()
    assert "which exists" in fails(arguments, capsys, image.generate.main)
    free = ["--prompt_share", "0", "--method", "sampled", "--overwrite", "--seed"]
    drawn = []
    for seed in ("1", "2"):
        assert image.generate.main([*arguments, *free, seed, "--json"]) == 0
        drawn.append(json.loads(capsys.readouterr().out)["codes"])
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--count", "0"], "count"),
        (["--prompt_share", "1"], "prompt_share"),
        (["--out", "picture.txt"], ".png"),
        (["--label", "0"], "no class tokens"),
    ],
)
def test_generate_refuses(
    arguments: list[str],
    said: str,
    tiny_image_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = fails(["--model", str(tiny_image_checkpoint), *arguments], capsys, image.generate.main)
    assert said in line and not list(tmp_path.iterdir())


def test_dry_run_touches_nothing(
    tiny_image_checkpoint: Path, tiny_image_run: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(tiny_image_checkpoint, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")  # would not load
    out = tmp_path / "out"
    arguments = ["--model", str(tmp_path / "model"), "--out", str(out), *tiny_image_run]
    assert main([*arguments, "--dry-run"]) == 0
    assert not out.exists()


def test_whole_images_can_be_trained_on(
    tiny_image_checkpoint: Path,
    tiny_image_run: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    line = fails(
        [
            *("--model", str(tiny_image_checkpoint), "--out", str(out), *tiny_image_run),
            *("--data.prompt_loss", "true", "--schedule.target_loss", "0.01"),
            *("--schedule.max_epochs", "2"),
        ],
        capsys,
    )
    assert "budget_exhausted" in line
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["outcome"] == "budget_exhausted"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data.prompts", "3"], "at least 4 judged images"),
        (["--data.references", "50"], "at least 100 held-out images"),
        (["--data.prompts", "1"], "data.prompts"),
        (["--data.prompt_share", "0.99"], "data.prompt_share"),
        (["--data.class_conditional", "true"], "class tokens"),
        (["--score.extractors", '["inception:none.pth"]'], "inception"),
        (["--score.extractors", "[]"], "score.extractors"),
        (["--data.train", "nowhere"], "nowhere"),
        (["--tokenizer", "nowhere"], "nowhere"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_bad_input_is_told_in_one_line(
    arguments: list[str],
    said: str,
    tiny_image_checkpoint: Path,
    tiny_image_run: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    line = fails(
        [
            *("--model", str(tiny_image_checkpoint), "--out", str(out), *tiny_image_run),
            *arguments,
        ],
        capsys,
    )
    assert said in line
    assert not out.exists()


def test_a_tokenizer_of_other_codes_is_refused(
    tiny_image_checkpoint: Path,
    tiny_image_run: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(1)
    options: dict[str, Any] = {"image_size": 16, "embed_dim": 3, "channels": (8, 8, 8)}
    for codes, said in ((9, "24 codes"), (24, "another of the same size")):
        folder = tmp_path / f"vq{codes}"
        new_vq_model(codes=codes, layers_per_block=1, groups=4, **options).save_pretrained(folder)
        arguments = ["--model", str(tiny_image_checkpoint), "--tokenizer", str(folder)]
        assert said in fails([*arguments, *tiny_image_run], capsys)


def test_an_imagegpt_is_hyperfitted(tiny_image_run: tuple[str, ...], tmp_path: Path) -> None:
    """The paper's own kind of image model: colour clusters as codes, one per pixel."""
    torch.manual_seed(0)
    config = ImageGPTConfig(
        vocab_size=17, n_positions=64, n_embd=32, n_layer=2, n_head=2, embd_pdrop=0.1
    )
    folder = tmp_path / "imagegpt"
    ImageGPTForCausalImageModeling(config).save_pretrained(folder)
    clusters = np.random.default_rng(0).uniform(-1, 1, (16, 3)).tolist()
    size = {"height": 8, "width": 8}
    ImageGPTImageProcessor(clusters=clusters, size=size).save_pretrained(folder)
    train, heldout = tmp_path / "train", tmp_path / "heldout"
    for place, start, count in ((train, 0, 12), (heldout, 100, 124)):
        place.mkdir()
        for number, pixels in enumerate(vignettes(start, count, size=16)[0]):
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(place / f"{number:03}.png")
    out = tmp_path / "out"
    arguments = ["--model", str(folder), "--out", str(out), *tiny_image_run]
    arguments += ["--data.train", str(train), "--data.heldout", str(heldout)]
    assert main([*arguments, "--schedule.target_loss", "1.5"]) == 0
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["training"]["tokens_per_sequence"] == 65
    assert len(metrics["by_position"]["original"]["entropy_nats"]) == 48


def test_a_first_look_measures_what_was_asked_for(
    tmp_path: Path, tiny_image_checkpoint: Path, tiny_image_run: tuple[str, ...]
) -> None:
    """Both greedy conditions and the references are there in any case, and enough for the page."""
    out = tmp_path / "run"
    fixed = ["--schedule.mode", "fixed", "--schedule.fixed_updates", "1"]
    few = ["--data.prompts", "4", "--data.references", "100"]
    argv = ["--model", str(tiny_image_checkpoint), *tiny_image_run, *fixed, *few]
    argv += ["--out", str(out), "--measure.conditions", '["original-sampled"]']
    assert main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    always = ["original-greedy", "hyperfitted-greedy", "reconstruction", "real"]
    assert sorted(metrics["conditions"]) == sorted([*always, "original-sampled"])
    assert (out / "pictures" / "comparison.png").is_file()
    assert "original" in (out / "report.html").read_text(encoding="utf-8")
