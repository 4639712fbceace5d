"""Options that a model brings along stand before the defaults and behind the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.config import TrainConfig
from common.errors import UserError
from common.tools.options import parse
from image.config import ImageRunConfig
from text.config import TextRunConfig


def read(*argv: str, config_class: Any = TextRunConfig) -> Any:
    return parse(config_class, list(argv), prog="test", description="")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder as far as its recipe goes."""
    (tmp_path / "recipe.yaml").write_text(
        "train: {tune: last:1, batch_size: 2}\nschedule: {learning_rate: 0.5}\n", encoding="utf-8"
    )
    return tmp_path


def test_the_embedded_models_have_one_by_the_same_way() -> None:
    assert TextRunConfig().schedule.learning_rate == "auto"
    assert TextRunConfig().train.tune == TrainConfig().tune != "last:3"
    text, image = read(), read(config_class=ImageRunConfig)
    assert (text.schedule.learning_rate, text.train.tune) == (1.2e-3, "last:3")
    assert (image.schedule.learning_rate, image.train.tune) == (1.2e-3, "all")
    assert read("--model", "gpt2") == TextRunConfig(model="gpt2")


def test_the_user_has_the_last_word(folder: Path, tmp_path: Path) -> None:
    assert read("--model", str(folder)).train.batch_size == 2
    given = read("--model", str(folder), "--train.batch_size", "3")
    assert (given.train.batch_size, given.train.tune) == (3, "last:1")
    (tmp_path / "mine.yaml").write_text(
        f"model: {folder}\ntrain: {{tune: all}}\n", encoding="utf-8"
    )
    given = read("--config", str(tmp_path / "mine.yaml"))
    assert (given.train.tune, given.schedule.learning_rate) == ("all", 0.5)


def test_it_is_printed_with_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--model", str(folder), "--print_config")
    assert "tune: last:1" in capsys.readouterr().out


def test_a_broken_one_is_one_line(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("train: {no_such: 1}\n", encoding="utf-8")
    with pytest.raises(UserError, match="no_such"):
        read("--model", str(folder))


@pytest.mark.parametrize(
    "text", ["out: /x\noverwrite: true\n", "- 1\n", "", "a: [\n", "resume: true\n"]
)
def test_one_that_is_more_than_a_way_to_train_is_refused(folder: Path, text: str) -> None:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"options of data, schedule, train and no others"):
        read("--model", str(folder), "--print_config")


def test_a_folder_is_not_taken_for_a_model_that_has_a_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    (folder / "recipe.yaml").rename(tmp_path / "smollm2" / "recipe.yaml")
    assert read("--model", "smollm2") == TextRunConfig(model="smollm2")
    assert read("--model", "./smollm2").train.batch_size == 2
