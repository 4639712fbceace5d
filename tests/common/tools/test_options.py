"""The command line: YAML, dotted overrides, help, and an error for whatever it does not know."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from common.config import RunConfig, ScheduleConfig, TrainConfig
from common.errors import UserError
from common.tools.options import dotted, parse, parse_options, read_config, to_yaml


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A modality's own group."""

    sources: list[str] = field(default_factory=lambda: ["circles"])
    """Where shapes come from."""
    sets: dict[str, str] = field(default_factory=lambda: {"round": "heldout"})
    """Sets by name."""
    filled: bool = False
    """Whether shapes are filled."""


@dataclass(frozen=True, kw_only=True)
class ShapesConfig(RunConfig):
    """A modality's options."""

    model: str = "embedded"
    """The model."""
    shapes: Shapes = field(default_factory=Shapes)
    """Shapes."""


def read(*argv: str, config_class: Any = ShapesConfig) -> Any:
    return parse(config_class, list(argv), prog="python -m shapes.run", description="Shapes.")


def test_defaults_are_the_dataclass() -> None:
    assert read() == ShapesConfig()
    assert read(config_class=RunConfig) == RunConfig()


def test_overrides_and_types() -> None:
    config = read(
        "--train.batch_size", "4", "--schedule.learning_rate=1e-6", "--model", "gpt2",
        "--shapes.sources", '["a", "b"]', "--schedule.mode", "fixed", "--schedule.fixed_updates=9",
        "--measure.max_batch", "null", "--train.micro_batch_size", "2",
    )  # fmt: skip
    assert config.train == replace(TrainConfig(), batch_size=4, micro_batch_size=2)
    assert config.schedule == replace(
        ScheduleConfig(), learning_rate=1e-6, mode="fixed", fixed_updates=9
    )
    assert config.shapes.sources == ["a", "b"] and config.model == "gpt2"
    assert config.measure.max_batch is None


def test_yaml_and_overrides_that_beat_it(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("seed: 3\ntrain:\n  batch_size: 2\n  tune: last:5\n")
    config = read("--config", str(path), "--train.batch_size", "16")
    assert (config.seed, config.train.batch_size, config.train.tune) == (3, 16, "last:5")
    assert config.train.log_every == TrainConfig().log_every


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("1e-4", 1e-4), ("2", 2.0)])
def test_a_rate_is_a_number_or_auto_in_words_and_files(
    tmp_path: Path, word: str, value: float | str
) -> None:
    config = parse(RunConfig, ["--schedule.learning_rate", word], prog="x", description="")
    assert config.schedule.learning_rate == value
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert read_config(RunConfig, path) == config
    assert parse_options(RunConfig, {"schedule.learning_rate": value}, prog="x") == config


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = ShapesConfig(
        name="x",
        overwrite=True,
        schedule=ScheduleConfig(learning_rate=1e-6, diversity_patience=3),
        train=TrainConfig(micro_batch_size=2, compile="off"),
        shapes=Shapes(sources=["a: b", "#c"], sets={"my-set": "2"}, filled=True),
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert read("--config", str(path)) == config


def test_print_config_parses_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        read("--seed", "5", "--shapes.filled", "--print_config")
    assert exit_info.value.code in (0, None)
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert yaml.safe_load(path.read_text())["seed"] == 5
    assert read("--config", str(path)) == ShapesConfig(seed=5, shapes=Shapes(filled=True))


@pytest.mark.parametrize(
    "argv",
    [
        ["--trian.batch_size", "4"],
        ["--train.batchsize", "4"],
        ["--sed", "1"],
        ["stray"],
        ["--train.batch_size", "four"],
        ["--train.batch_size", "2.5"],
        ["--train.precision", "fp8"],
        ["--schedule.learning_rate", "fast"],
        ["--tracker", "paper"],
        ["--train.batch_size"],
    ],
)
def test_mistakes_on_the_command_line(argv: list[str]) -> None:
    with pytest.raises(UserError, match=re.escape("--help")) as error:
        read(*argv)
    named = argv[0].removeprefix("--").split(".")[-1]
    assert named in error.value.got and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sede: 3\n", "sede"),
        ("train:\n  batchsize: 4\n", "batchsize"),
        ("train:\n  batch_size: four\n", "batch_size"),
        ("train: [1, 2]\n", "list"),
        ("seed: [1\n", ""),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read("--config", str(path))
    assert told in error.value.got


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read("--config", str(tmp_path / "nowhere.yaml"))


def test_bare_flags_and_dashes() -> None:
    config = read("--resume", "--dry-run", "--json", "--seed", "2", "--shapes.filled")
    assert config.resume and config.dry_run and config.json and config.shapes.filled
    assert config.seed == 2 and not config.overwrite
    config = read("--train.batch-size=3", "--overwrite", "false", "--resume=false", "--dry-run")
    assert config.train.batch_size == 3
    assert not config.overwrite and not config.resume and config.dry_run
    # Dashes in names that the user chooses are not ours to change.
    assert read('--shapes.sets={"my-set": "a-b"}').shapes.sets == {"my-set": "a-b"}


def leaves(config_class: Any, prefix: str = "") -> list[str]:
    hints = get_type_hints(config_class)
    names: list[str] = []
    for entry in fields(config_class):
        kind = hints[entry.name]
        inner = leaves(kind, f"{prefix}{entry.name}.") if is_dataclass(kind) else None
        names += inner if inner is not None else [f"{prefix}{entry.name}"]
    return names


def field_docstrings(config_class: Any) -> dict[str, str]:
    """Field -> the string under it, read from the source of the class and of its bases."""
    found: dict[str, str] = {}
    for base in (c for c in config_class.__mro__ if is_dataclass(c)):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for entry, text in pairwise(body.body):
            if isinstance(entry, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(entry.target)] = ast.literal_eval(text.value)
    return found


def test_every_option_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--help")
    text = "".join(capsys.readouterr().out.split("options:")[1].split())
    hints = get_type_hints(ShapesConfig)
    for config_class in [ShapesConfig, *filter(is_dataclass, hints.values())]:
        told = field_docstrings(config_class)
        kinds = get_type_hints(config_class)
        for name in (entry.name for entry in fields(config_class)):
            assert told[name].strip()
            if not is_dataclass(kinds[name]):  # a group is headed by its own docstring
                assert "".join(told[name].split()) in text, name
    for name in leaves(ShapesConfig):
        assert f"--{name}" in text
    assert set(dotted(ShapesConfig())) == set(leaves(ShapesConfig))


def test_dotted_names_values() -> None:
    values = dotted(ShapesConfig(shapes=Shapes(sources=["a"])))
    assert values["shapes.sources"] == ["a"] and values["shapes.sets"] == {"round": "heldout"}
    assert values["train.batch_size"] == RunConfig().train.batch_size and "train" not in values


def test_options_by_name_are_read_like_a_command_line(tmp_path: Path) -> None:
    config = read("--shapes.filled", "--shapes.sets", '{"a": "b"}', "--train.micro_batch_size=null")
    options = {"shapes.filled": True, "shapes.sets": {"a": "b"}, "train.micro_batch_size": None}
    assert parse_options(ShapesConfig, options, prog="a plan") == config
    with pytest.raises(UserError, match="a plan"):
        parse_options(ShapesConfig, {"shapes.filed": True}, prog="a plan")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read_config(ShapesConfig, tmp_path / "config.yaml") == config
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        read_config(ShapesConfig, tmp_path / "nowhere.yaml")
