"""Every option of every command with values that no user means: one line, or taken as it is.

The values come from the types of the options, so an option that is added is tried without a word
here. Commands run with --dry_run, which checks all that can be checked before weights are touched;
what they read is read once. What is only used later is tried further down.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hostile import changed, lay_out, options, values
from PIL import Image

import image.completion
import image.pictures.load
import image.prepare
import image.pretraining
import text.continuation
import text.corpus
import text.data
import text.prepare
from common.config import RunConfig
from common.errors import UserError
from common.pretrain_config import PretrainOptions
from common.tools.options import parse
from common.tools.values import check_values
from image.config import ImageRunConfig
from image.generate_config import GenerateConfig as ImageGenerateConfig
from image.measure.extractor_config import ExtractorConfig
from image.pretrain_config import PretrainConfig as ImagePretrainConfig
from image.tokenizer.config import TokenizeConfig
from text.config import TextRunConfig
from text.export_config import ExportConfig
from text.generate_config import GenerateConfig as TextGenerateConfig
from text.pretrain_config import PretrainConfig as TextPretrainConfig

CONFIGS: dict[str, type] = {
    "text.run": TextRunConfig,
    "image.run": ImageRunConfig,
    "text.pretrain": TextPretrainConfig,
    "image.pretrain": ImagePretrainConfig,
    "image.tokenize": TokenizeConfig,
    "image.extractor": ExtractorConfig,
    "text.generate": TextGenerateConfig,
    "text.export": ExportConfig,
    "image.generate": ImageGenerateConfig,
}
# What text.run and text.pretrain have tried need not be tried again.
SHARED = {"image.run": options(RunConfig), "image.pretrain": options(PretrainOptions)}
CASES = [
    (command, option)
    for command, config_class in CONFIGS.items()
    for option in options(config_class)
    if option not in SHARED.get(command, {}) and option != "dry_run"
]
Run = Callable[[Any], int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory for all tests here: nothing may be written into it."""
    folder = tmp_path_factory.mktemp("hostile")
    lay_out(folder)
    for name in ("a", "b"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(4):
            colour = (60 * number, 80, 200 * (name == "a"))
            Image.new("RGB", (8, 8), colour).save(folder / "photos" / name / f"{number}.png")
    shutil.copytree(folder / "photos", folder / "others")
    for path in (folder / "others").rglob("*.png"):
        Image.open(path).rotate(90).point(lambda value: 255 - value).save(path)
    rows = (f'{{"author": "a{n}", "title": "t{n}", "text": "{"abc " * 99}{n}"}}' for n in range(6))
    (folder / "books.jsonl").write_text("\n".join(rows) + "\n")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def bases(
    place: Path,
    tiny_checkpoint: Path,
    tiny_run: tuple[str, ...],
    tiny_image_checkpoint: Path,
    tiny_image_run: tuple[str, ...],
) -> dict[str, Any]:
    """Small options of every command that are accepted."""
    model, images = f"--model={tiny_checkpoint}", f"--model={tiny_image_checkpoint}"
    tokenizer = f"--tokenizer={tiny_image_checkpoint / 'image_tokenizer'}"
    few = ["--count=4", "--heldout_count=4", "--batch_size=4"]
    folders = ["--data=photos", "--heldout=others", "--size=8"]
    shape = ["--hidden_size=16", "--layers=1", "--heads=2", "--intermediate_size=16"]
    words: dict[str, list[str]] = {
        "text.run": [model, *tiny_run],
        "image.run": [images, *tiny_image_run, "--data.prompts=4", "--data.references=8"],
        "text.pretrain": [
            "--data=books.jsonl", "--heldout_books=2", "--vocab_size=260", "--length=16",
            "--batch_size=2", *shape,
        ],
        "image.pretrain": [tokenizer, "--data=photos", "--heldout=others", *few, *shape],
        "image.tokenize": [*folders, *few, "--codes=4", "--channels=[8,8]", "--extractor=offline"],
        "image.extractor": [*folders, *few, "--widths=[8,8]", "--stem_width=8"],
        "text.export": [model, "--out=new.gguf"],
        "text.generate": [model, "--prompt=Once", "--new_tokens=4", "--method=top-p"],
        "image.generate": [images, "--count=2", "--method=sampled"],
    }  # fmt: skip
    return {
        command: parse(
            CONFIGS[command],
            [*argv, "--dry_run=true", *([] if command == "text.export" else ["--device=cpu"])],
            prog="",
            description="",
        )
        for command, argv in words.items()
    }


@pytest.fixture
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with a config, as if it had been read from the command line."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for module, name in READ_ONCE:
        monkeypatch.setattr(module, name, _once(module, name))
    module = importlib.import_module(request.node.callspec.params["command"])

    def call(config: Any) -> int:
        def given(*_: Any, **__: Any) -> Any:
            check_values(config)
            return config

        monkeypatch.setattr(module, "parse", given)
        return module.main([])

    return call


READ_ONCE = (
    (text.prepare, "load_tokenizer"),
    (text.prepare, "load_data"),
    (text.continuation, "load_tokenizer"),
    (text.data, "read_documents"),
    (image.pictures.load, "vignettes"),
    (image.prepare, "load_tokenizer"),
    (image.prepare, "load_extractor"),
    (image.prepare, "load_image_data"),
    (image.pretraining, "load_tokenizer"),
    (image.completion, "load_tokenizer"),
)
_KEPT: dict[Any, Any] = {}


def _once(module: Any, name: str) -> Callable[..., Any]:
    """A function that remembers what it gave: reading is not what is tested here."""
    real = getattr(module, name)

    def remembered(*arguments: Any, **named: Any) -> Any:
        key = (module.__name__, name, *map(_key, arguments), *map(_key, named.values()))
        if key not in _KEPT:
            _KEPT[key] = real(*arguments, **named)
        return _KEPT[key]

    return remembered


def _key(argument: Any) -> Any:
    plain = isinstance(argument, str | int | float | Path) or is_dataclass(argument)
    return repr(argument) if plain else id(argument)


def outcome(act: Callable[[], object]) -> str:
    """ "taken", or the line of a refusal; any other exception passes."""
    try:
        act()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 20_000, error
        return str(error)
    return "taken"


@pytest.mark.parametrize(("command", "option"), CASES)
def test_every_option(
    command: str, option: str, bases: dict[str, Any], run: Run, place: Path
) -> None:
    before = set(place.rglob("*"))
    for value in values(options(CONFIGS[command])[option]):
        config = changed(bases[command], option, value)
        try:
            outcome(lambda config=config: run(config))
        except Exception as error:
            pytest.fail(f"--{option} {value!r:.80}: {type(error).__name__}: {error}")
        made = set(place.rglob("*")) - before
        if option.endswith("codes"):  # a cache, filled while reading
            for path in sorted(made, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        else:
            assert not made, f"{value!r:.80} made files in a dry run"
