"""Every shipped configuration loads, says what it must, and matches its command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.tools.options import parse
from image.config import ImageRunConfig
from image.pretrain_config import PretrainConfig
from image.tokenizer.config import TokenizeConfig

FOLDER = Path(__file__).parent.parent.parent / "configs" / "image"
COMMANDS: dict[str, tuple[str, Any]] = {
    "default": ("image.run", ImageRunConfig),
    "paper_imagegpt": ("image.run", ImageRunConfig),
    "cifar10": ("image.run", ImageRunConfig),
    "cifar10_tokenizer": ("image.tokenize", TokenizeConfig),
    "cifar10_pretrain": ("image.pretrain", PretrainConfig),
}


def load(name: str) -> Any:
    argv = ["--config", str(FOLDER / f"{name}.yaml")]
    return parse(COMMANDS[name][1], argv, prog="test", description="")


def test_the_expected_ones_are_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_head_tells_command_cost_and_result(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert f"python -m {COMMANDS[name][0]} --config configs/image/{name}.yaml" in head
    for word in ("# What: ", "# Cost: ", "# Result to expect: "):
        assert word in head
    load(name)


def test_default_is_the_default() -> None:
    """One of the two was changed without the other if this fails."""
    assert load("default") == parse(ImageRunConfig, [], prog="test", description="")


def test_the_paper_s_run_follows_the_paper() -> None:
    config = load("paper_imagegpt")
    assert config.schedule.mode == "fixed" and config.schedule.fixed_updates == 5000
    assert config.schedule.learning_rate == 1e-6
    assert config.train.batch_size == 8 and config.train.tune == "all"
    assert (config.data.sequences, config.data.prompt_share) == (2000, 0.25)
    assert config.data.prompt_loss


def test_the_cifar10_chain_hands_on_its_outputs() -> None:
    tokenizer, base, run = (load(n) for n in ("cifar10_tokenizer", "cifar10_pretrain", "cifar10"))
    assert base.tokenizer == run.tokenizer == f"{tokenizer.out}/model"
    assert run.model == f"{base.out}/model"
    assert tokenizer.data == base.data == run.data.train == "cifar10"
