"""Places that cannot be written, and what the commands of argparse are given: one line each."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import TEXTS, lay_out
from PIL import Image

import benchmarks.preference.__main__
import benchmarks.report.build
import benchmarks.seeds
import benchmarks.suite.make_cells
import common.report.__main__
import common.report.terminal
from benchmarks.suite.declarations import load_experiments
from common.config import RunConfig, TrainConfig, check_before_reading
from common.errors import UserError
from common.record.manifest import Manifest
from common.record.run_folder import RunFolder
from common.tools.files import atomic_write_text
from common.tools.options import parse
from common.tools.values import LARGEST, check_values, path_argument
from image.report.grids import save_png

PATHS = [text for text in TEXTS if "\0" not in text and "\udcff" not in text]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lay_out(tmp_path)
    (tmp_path / "folder" / "thesis.txt").write_text("years")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("overwrite", [False, True])
def test_any_place_for_a_run(overwrite: bool, place: Path) -> None:
    for text in PATHS:
        try:
            RunFolder.create(Path(text), config_yaml="seed: 0\n", overwrite=overwrite)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert text in ("a\nb", "~nosuchuser/x", "no/such/place"), text
    assert (place / "file").read_text() == "not what was meant"
    assert (place / "folder" / "thesis.txt").read_text() == "years"


def test_any_place_for_a_picture() -> None:
    for text in [*PATHS, "/proc/x/y.png", "file/y.png", "/dev/full/y.png"]:
        if text in ("", "/", "/dev/null", "/dev/zero", "file"):  # would replace it, or no file
            continue
        try:
            save_png(Image.new("RGB", (2, 2)), Path(text))
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert text in ("a\nb", "~nosuchuser/x", "no/such/place", "loop"), text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "open", "replace", "rename", "fsync"])
def test_a_disk_that_fills_while_a_run_writes(
    call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens it is one line, and what was listed before can still be overwritten."""
    run = RunFolder.create(Path("run"), config_yaml="seed: 0\n")
    real = getattr(os, call)

    def failing(path: object, *rest: object, **named: object) -> object:
        if not isinstance(path, int) and "run" not in str(path):
            return real(path, *rest, **named)
        raise OSError(number, os.strerror(number))

    def fill() -> None:
        with run.manifest.adding("model") as added:
            (added / "weights").write_text("w")

    writes: list[Callable[[], object]] = [
        lambda: run.write_text(run.report, "page"),
        lambda: run.write_samples([]),
        fill,
        lambda: RunFolder.create(Path("other-run"), config_yaml=""),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        for write in writes:
            try:
                write()
            except UserError as error:
                assert os.strerror(number) in str(error) and "\n" not in str(error)
    assert Manifest(run.path).foreign() == []
    RunFolder.create(run.path, config_yaml="", overwrite=True)


# Commands that read their options with argparse.

SUITE = ["data_order", "--dry-run"]
CALLS = {
    "suite names": (benchmarks.suite.make_cells, lambda v: [v, "--dry-run"]),
    "suite profile": (benchmarks.suite.make_cells, lambda v: [*SUITE, f"--profile={v}"]),
    "suite shard": (benchmarks.suite.make_cells, lambda v: [*SUITE, f"--shard={v}"]),
    "suite runs": (benchmarks.suite.make_cells, lambda v: [*SUITE, f"--runs={v}"]),
    "suite results": (benchmarks.suite.make_cells, lambda v: [*SUITE, f"--results={v}"]),
    "suite cifar": (benchmarks.suite.make_cells, lambda v: [*SUITE, f"--cifar={v}"]),
    "report results": (benchmarks.report.build, lambda v: [f"--results={v}", "--check"]),
    "seeds folders": (benchmarks.seeds, lambda v: [v, v + "2"]),
    "seeds out": (benchmarks.seeds, lambda v: ["folder", f"--out={v}"]),
    "make runs": (benchmarks.preference.__main__, lambda v: ["make", v, "--out=page.html"]),
    "make out": (benchmarks.preference.__main__, lambda v: ["make", "folder", f"--out={v}.html"]),
    "make items": (
        benchmarks.preference.__main__,
        lambda v: ["make", "folder", "--out=page.html", f"--items={v}"],
    ),
    "score files": (benchmarks.preference.__main__, lambda v: ["score", v]),
    "score key": (benchmarks.preference.__main__, lambda v: ["score", "file", f"--key={v}"]),
    "score out": (benchmarks.preference.__main__, lambda v: ["score", "file", f"--out={v}"]),
    "common.report": (common.report.__main__, lambda v: [v]),
    "common.report.terminal": (common.report.terminal, lambda v: [v]),
}
SHARDS = ["0/0", "-1/2", "1/" + "9" * 18, "9" * 5000 + "/1", "2/1", "1/1/1", "\u0661/\u0661"]


@pytest.mark.parametrize("case", CALLS)
def test_commands_of_argparse(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    module, argv = CALLS[case]
    experiments = load_experiments()
    monkeypatch.setattr(benchmarks.suite.make_cells, "load_experiments", lambda: experiments)
    monkeypatch.setattr(benchmarks.report.build, "load_experiments", lambda: [])
    before = sorted(place.rglob("*"))
    for value in [*TEXTS, *(SHARDS if case == "suite shard" else ())]:
        try:
            code = module.main(argv(value))
        except UserError as error:
            assert "\n" not in str(error), value
        except SystemExit as ended:  # argparse tells its errors itself
            assert ended.code == 2 and "error: " in capsys.readouterr().err, value
        else:
            assert code == 0, value
    assert sorted(place.rglob("*")) == before


# The checks behind it.


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float | None = None
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Options:
    prompt: str = ""
    path: str = "x"
    count: int = 1
    table: dict[str, str] = dataclasses.field(default_factory=dict)
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(path=""), "path to be something, or left out; got ''"),
        (Options(prompt="\0"), "prompt to be text in UTF-8 without a NUL"),
        (Options(prompt="\udcff"), "prompt to be text in UTF-8"),
        (Options(count=LARGEST + 1), "count to be a number of at most"),
        (Options(count=-(10**400)), "count to be a number of at most"),
        (Options(table={"": "x"}), "table to be something"),
        (Options(table={"x": "\0"}), "table to be text"),
        (Options(inner=Inner(rate=float("nan"))), "inner.rate to be a finite number; got nan"),
        (Options(inner=Inner(rate=float("-inf"))), "inner.rate to be a finite number"),
        (Options(inner=Inner(names=("a", "\0"))), "inner.names to be text"),
    ],
)
def test_values_that_no_option_can_have(options: Options, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_values(options)
    assert said in str(caught.value) and len(str(caught.value)) < 300


def test_values_that_options_can_have() -> None:
    check_values(Options(prompt="", path="a\nb \u00e9 \U0001f98a", count=-LARGEST))
    assert path_argument("a b") == Path("a b")
    with pytest.raises(argparse.ArgumentTypeError, match="UTF-8"):
        path_argument("a\udcff")


@pytest.mark.parametrize("seed", [-5, -1, 2**32])
def test_seeds(seed: int) -> None:
    for config in (RunConfig(seed=seed), RunConfig(train=TrainConfig(order_seed=seed))):
        with pytest.raises(UserError, match="seed to be from 0 to 4,294,967,295"):
            check_before_reading(config)
    check_before_reading(RunConfig(seed=2**32 - 1, train=TrainConfig(order_seed=0)))


@pytest.mark.parametrize("name", [".", "..", "../x", "/etc", "a/b"])
def test_the_name_of_a_run_is_that_of_a_folder(name: str) -> None:
    with pytest.raises(UserError, match="name of one folder"):
        check_before_reading(RunConfig(name=name))


def test_an_empty_output_is_not_the_default_one() -> None:
    """It was taken for "not given", and for the working directory elsewhere."""
    with pytest.raises(UserError, match="out to be something, or left out"):
        parse(RunConfig, ["--out="], prog="run", description="")
    atomic_write_text(Path("kept"), "x")
