"""The suite over small declarations, with a stand-in for training and for the analyses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import benchmarks.suite.make_cells
import benchmarks.suite.training_runs
from benchmarks.suite.cells import Cell, read_cells, write_cell
from benchmarks.suite.declarations import load_experiments
from benchmarks.suite.experiment import Experiment
from benchmarks.suite.make_cells import main
from benchmarks.suite.plan import plan_jobs, take_shard
from benchmarks.suite.run_figures import figures
from common.errors import UserError, run_cli
from common.measure.intervals import Interval, point

ROOT = Path(benchmarks.suite.make_cells.__file__).parents[2]
FAKE = Path(__file__).parents[2] / "fake_run.py"
PLAIN = {"title": "t", "question": "q?", "domains": ["text"], "paper": []}
SIZES = [{"axes": {"n": n}, "all": {"data.sequences": n}} for n in (8, 9)]
DECLARED: dict[str, Any] = {
    "profiles": {
        "quick": {"label": "q", "seeds": [0], "text": {"data.sequences": 8}},
        "full": {"label": "f", "seeds": [0, 1]},
    },
    "size": PLAIN | {"cells": SIZES},
    "shift": PLAIN | {"analysis": "shift", "cells": [{}], "analysis_options": {"k": 3}},
    "again": PLAIN | {"cells": [{"axes": {"m": "shift"}, "analysis": "shift"}]}
    | {"analysis_options": {"k": 3}},
    "order": PLAIN
    | {"analysis": "compare", "against": {"order": 0}}
    | {
        "cells": [
            {"axes": {"order": 0}},
            {"axes": {"order": 5}, "all": {"train.order_seed": 5}},
        ]
    },
}  # fmt: skip


@dataclass
class Bench:
    """The suite with folders of its own, and what was analysed."""

    folder: Path
    analysed: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, *words: str) -> int:
        folders = ["--runs", str(self.folder / "runs"), "--results", str(self.folder / "cells")]
        return run_cli(main, [*words, *folders])

    def cells(self) -> dict[str, Cell]:
        return {f"{c.experiment}/{c.cell}": c for c in read_cells(self.folder / "cells")}

    def starts(self) -> list[str]:
        return (self.folder / "runs" / "starts.txt").read_text().splitlines()

    def declare(self, **declared: Any) -> None:
        for number, (name, content) in enumerate((DECLARED | declared).items()):
            own = {} if name == "profiles" else {"number": number}
            text = yaml.safe_dump(content | own, sort_keys=False)
            (self.folder / f"{name}.yaml").write_text(text)

    def experiments(self) -> list[Experiment]:
        return load_experiments(self.folder)


@dataclass
class FakeMeasured:
    metrics: dict[str, Interval]
    series: dict[str, list[dict[str, Any]]]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    made.declare()

    def analyse(name: str, folders: Sequence[Path], options: dict[str, Any]) -> FakeMeasured:
        made.analysed.append((name, len(folders), options))
        ttr = [figures(f).metrics["hyperfitted-greedy/all/ttr_96"].mean for f in folders]
        if options.get("k", 0) < 0:
            raise ZeroDivisionError("by nothing\nat all")
        return FakeMeasured({"shifted": point(ttr[-1] + options.get("k", 0), 4)}, {"s": [{"a": 1}]})

    monkeypatch.setattr(benchmarks.suite.make_cells, "analyse", analyse)
    monkeypatch.setattr(benchmarks.suite.make_cells, "load_experiments", made.experiments)
    monkeypatch.setitem(
        benchmarks.suite.training_runs.COMMANDS, "text", [sys.executable, str(FAKE)]
    )
    monkeypatch.setenv("FAKE_KILL", str(tmp_path / "kill"))
    return made


def figures_of(cells: dict[str, Cell]) -> dict[str, Any]:
    return {name: (cell.status, cell.metrics, cell.config) for name, cell in cells.items()}


def test_everything_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench() == 0
    cells = bench.cells()
    assert list(cells) == [
        "again/text-shift-seed0", "order/text-0-seed0", "order/text-5-seed0", "shift/text-seed0",
        "size/text-8-seed0", "size/text-9-seed0",
    ]  # fmt: skip
    assert all(cell.status == "done" for cell in cells.values())
    assert len(bench.starts()) == 3  # 8, 9 and the other order
    # One analysis served two cells; the plain ones had none.
    assert bench.analysed == [("shift", 1, {"k": 3}), ("compare", 2, {})]
    main_run = cells["size/text-8-seed0"]
    ttr = main_run.metrics["hyperfitted-greedy/all/ttr_96"].mean
    assert cells["shift/text-seed0"].metrics["shifted"].mean == ttr + 3
    assert cells["again/text-shift-seed0"].metrics == cells["shift/text-seed0"].metrics
    assert cells["again/text-shift-seed0"].series == {"s": [{"a": 1}]}
    # The run that is compared with is the second.
    assert cells["order/text-5-seed0"].metrics["shifted"].mean == ttr
    assert cells["order/text-0-seed0"].metrics["hyperfitted-greedy/all/ttr_96"].mean == ttr
    assert main_run.command == "python -m benchmarks.suite size --profile quick"
    assert main_run.axes == {"n": 8} and main_run.config["data.sequences"] == 8
    assert main_run.provenance["git_commit"] == "abc" and main_run.seconds == 60.0
    assert cells["shift/text-seed0"].config["suite.analysis.k"] == 3
    assert cells["order/text-5-seed0"].config["suite.against"] == {"order": 0}
    printed = capsys.readouterr().err
    assert "[1/6] size/text-8-seed0 (text-" in printed and "5 left" in printed

    assert bench() == 0
    assert len(bench.starts()) == 3 and len(bench.analysed) == 2
    assert "6 cells, 6 of them done" in capsys.readouterr().err
    assert (
        str(bench.folder) not in (bench.folder / "cells/quick/size/text-8-seed0.json").read_text()
    )


def test_named_experiments_and_profiles(bench: Bench) -> None:
    assert bench("shift", "--profile", "full") == 0
    assert list(bench.cells()) == ["shift/text-seed0", "shift/text-seed1"]


def test_what_one_profile_has_made_another_takes(bench: Bench) -> None:
    like = DECLARED["profiles"] | {"more": {"label": "m", "seeds": [0, 1], "like": "quick"}}
    bench.declare(profiles=like)
    assert bench() == 0
    starts, analysed = len(bench.starts()), len(bench.analysed)
    assert bench("--profile", "more") == 0
    assert len(bench.starts()) == 2 * starts and len(bench.analysed) == 2 * analysed
    all_cells = read_cells(bench.folder / "cells")
    quick, more = ([c for c in all_cells if c.profile == p] for p in ("quick", "more"))
    again = {(c.experiment, c.cell): c for c in more}
    assert len(more) == 2 * len(quick)
    for cell in quick:
        other = again[cell.experiment, cell.cell]
        assert (other.metrics, other.provenance) == (cell.metrics, cell.provenance)
        assert other.command.endswith("--profile more")


def test_failures_are_recorded_tried_again_and_stop_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [{"axes": {"n": n}, "all": {"data.sequences": n}} for n in (13, 14, 17, 8)]
    broken: dict[str, Any] = {"analysis": "shift", "analysis_options": {"k": -1}}
    broken |= {"cells": [{"all": {"data.sequences": 17}}]}
    bench.declare(**{"size": PLAIN | {"cells": sizes}, "broken": PLAIN | broken})
    assert bench("size", "broken") == 1
    cells = bench.cells()
    refused = cells["size/text-13-seed0"]
    assert refused.error == "expected other sequences; got 13; change data.sequences"
    assert refused.status == "failed" and refused.metrics == {} and refused.provenance
    crashed = cells["size/text-14-seed0"].error
    assert crashed is not None and "ended with code 3" in crashed
    assert cells["size/text-8-seed0"].status == "done"
    assert cells["broken/text-seed0"].error == "ZeroDivisionError: by nothing at all"
    printed = capsys.readouterr().err
    assert "3 of 5 cells failed; the same command tries them again" in printed
    starts = len(bench.starts())
    sizes[0]["all"] = {"data.sequences": 12}  # mended
    bench.declare(**{"size": PLAIN | {"cells": sizes}})
    assert bench("size") == 1
    assert bench.cells()["size/text-13-seed0"].status == "done"
    assert len(bench.starts()) == starts + 2


def test_a_missed_target_is_a_result(bench: Bench) -> None:
    missed = {"cells": [{"all": {"data.sequences": 15}}]}
    bench.declare(**{"size": PLAIN | missed})
    assert bench("size") == 0
    cell = bench.cells()["size/text-seed0"]
    assert cell.status == "done" and cell.metrics["training/reached"].mean == 0
    assert cell.series["training"][0]["outcome"] == "budget_exhausted"


def test_a_figure_that_is_no_number_fails_its_cell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyse(*_: object) -> FakeMeasured:
        return FakeMeasured({"bad": point(float("nan"), 4)}, {})

    monkeypatch.setattr(benchmarks.suite.make_cells, "analyse", analyse)
    assert bench("shift") == 1
    error = bench.cells()["shift/text-seed0"].error
    assert error is not None and "finite numbers" in error and "bad" in error


def test_another_configuration_is_not_written_over(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("shift") == 0
    before = bench.cells()
    changed = DECLARED["shift"] | {"analysis_options": {"k": 4}}
    bench.declare(**{"shift": changed})
    assert bench("shift") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith(
        "error: expected the configuration of the finished cell shift/text-seed0"
    )
    assert "another suite.analysis.k" in line and figures_of(bench.cells()) == figures_of(before)
    assert bench("shift", "--overwrite") == 0
    assert bench.cells()["shift/text-seed0"].config["suite.analysis.k"] == 4


def test_an_option_that_did_not_exist_when_a_cell_was_made_had_its_default(bench: Bench) -> None:
    assert bench("shift") == 0
    path = next((bench.folder / "cells").rglob("shift/text-seed0.json"))
    cell = json.loads(path.read_text(encoding="utf-8"))
    removed = cell["config"].pop("schedule.smoothing_updates")
    path.write_text(json.dumps(cell), encoding="utf-8")
    assert bench("shift") == 0
    cell["config"]["schedule.smoothing_updates"] = removed + 1
    path.write_text(json.dumps(cell), encoding="utf-8")
    assert bench("shift") == 2


def test_sigterm_and_a_second_call_give_the_figures_of_one(bench: Bench, tmp_path: Path) -> None:
    whole = Bench(tmp_path / "whole")
    assert whole() == 0
    (tmp_path / "kill").write_text("suite")
    assert bench() == 130
    assert not (tmp_path / "cells").exists()
    assert bench() == 0
    assert bench.starts()[1].endswith("--resume")
    assert figures_of(bench.cells()) == figures_of(whole.cells())


def test_sigkill_and_a_second_call_give_the_figures_of_one(bench: Bench, tmp_path: Path) -> None:
    """The run outlives the suite for a while, and the second call waits for it."""
    whole = Bench(tmp_path / "whole")
    assert whole("size") == 0
    (tmp_path / "kill").write_text("suite, at once")
    code = f"""
import sys, pathlib
from benchmarks.suite import make_cells, training_runs
from benchmarks.suite.declarations import load_experiments
training_runs.COMMANDS["text"] = [sys.executable, {str(FAKE)!r}]
make_cells.load_experiments = lambda: load_experiments(pathlib.Path({str(tmp_path)!r}))
folders = ["--runs", {str(tmp_path / "runs")!r}, "--results", {str(tmp_path / "cells")!r}]
make_cells.main(["size", *folders])
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert bench("size") == 0
    assert len(bench.starts()) == 2
    assert figures_of(bench.cells()) == figures_of(whole.cells())


def test_shards_share_no_run_and_leave_nothing_out(bench: Bench) -> None:
    jobs = plan_jobs(bench.experiments(), "full")
    parts = [take_shard(jobs, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(j.name for part in parts for j in part) == sorted(j.name for j in jobs)
    runs = [{run.name for job in part for run in job.runs} for part in parts]
    assert all(runs) and sum(map(len, runs)) == len(set.union(*runs))
    assert [job.name for job in take_shard(jobs, "1/1")] == [job.name for job in jobs]
    # What is compared, and what shares a run, stays together.
    for part in parts:
        names = {job.name for job in part}
        for seed in (0, 1):
            order = {f"order/text-{n}-seed{seed}" for n in (0, 5)} | {f"shift/text-seed{seed}"}
            assert order <= names or not order & names
    assert bench("--shard", "2/2") == 0
    assert bench("--shard", "1/2") == 0
    assert len(bench.cells()) == 6 and len(bench.starts()) == 3


def test_dry_run_tells_and_does_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--dry-run") == 0
    printed = capsys.readouterr().out.splitlines()
    assert not (bench.folder / "runs").exists() and not (bench.folder / "cells").exists()
    assert printed[0].startswith("to do  size/text-8-seed0: text-") and "(missing)" in printed[0]
    assert "shift of text-" in printed[2] and printed[5].count("(missing)") == 2
    assert printed[-2] == ("6 cells of 3 runs; 0 cells are done, 6 to do, which takes 3 runs")
    assert printed[-1].startswith("no estimate")
    assert bench("size", "shift") == 0
    capsys.readouterr()
    bench.declare(**{"size": PLAIN | {"cells": [*SIZES, {"axes": {"n": 10}}]}})
    assert bench("--dry-run") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("done   size/text-8-seed0: text-") and "(finished)" in printed[0]
    assert printed[-2].endswith("3 cells are done, 4 to do, which takes 1 runs")
    # 60 s for the run; of the comparisons nothing is known, the shift took less than a second.
    assert printed[-1] == (
        "about 1 minutes by what finished cells took, and 1 runs or analyses of unknown length"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sizes"], "experiments among size, shift, again, order; got 'sizes'"),
        (["--profile", "slow"], "profile among quick, full; got 'slow'"),
        *(
            (["--shard", shard], f"--shard I/N .* got '{shard}'")
            for shard in ("1", "0/2", "3/2", "a/b", "1/0", "-1/2")
        ),
        (["--cifar", "/nonexistent"], "--cifar to be a folder with cifar-10-batches-py"),
    ],
)
def test_bad_words_are_one_line(
    bench: Bench, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*[f"{words[0]}={words[1]}"] if len(words) > 1 else words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)
    assert line.startswith("error: ")


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text(p.read_text()[:90]), "one whole JSON object"),
        (lambda p: p.write_text(p.read_text().replace('"schema": 1', '"schema": 7')), "schema 1"),
        (lambda p: p.write_text(p.read_text().replace("60.0", "NaN")), "finite numbers"),
    ],
)
def test_a_damaged_cell_is_one_line(
    bench: Bench, damage: Damage, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("size") == 0
    damage(bench.folder / "cells/quick/size/text-8-seed0.json")
    capsys.readouterr()
    assert bench("size") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and "text-8-seed0.json" in line


def test_data_that_must_be_brought(bench: Bench, tmp_path: Path) -> None:
    source = {"domains": ["image"], "cells": [{"needs": "cifar", "all": {"data.train": "cifar10"}}]}
    bench.declare(**{"size": PLAIN | source})
    assert bench("size") == 1
    cell = bench.cells()["size/image-seed0"]
    assert cell.error is not None and cell.error.startswith("expected --cifar FOLDER")
    assert cell.command.endswith("--profile quick --cifar FOLDER")
    (without,) = plan_jobs(bench.experiments()[:1], "quick")
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "root" / "cifar-10-batches-py").mkdir(parents=True)
    for name, option, value in (("images", "train", "images/train"), ("root", "root", "root")):
        (job,) = plan_jobs(bench.experiments()[:1], "quick", cifar=tmp_path / name)
        assert job.missing is None and job.config == without.config
        data: Any = job.run.config.data  # type: ignore[attr-defined]
        assert getattr(data, option) == str(tmp_path / value)


def test_an_analysis_gets_the_runs_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    class FinishedRun:
        @staticmethod
        def open(path: Path) -> str:
            opened.append(path)
            return f"run {path.name}"

    for name, content in (
        ("analyses.finished_run", {"FinishedRun": FinishedRun}),
        ("analyses", {"ANALYSES": {"echo": lambda *given: given}}),
    ):
        module = ModuleType(f"benchmarks.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    one, two = tmp_path / "one", tmp_path / "two"
    assert benchmarks.suite.make_cells.analyse("echo", [one], {}) == ("run one", None, {})
    assert benchmarks.suite.make_cells.analyse("echo", [one, two], {"k": 1}) == (
        "run one",
        "run two",
        {"k": 1},
    )
    opened.clear()
    assert benchmarks.suite.make_cells.analyse("echo", [one, one], {}) == ("run one", "run one", {})
    assert opened == [one]
    with pytest.raises(UserError, match="analysis among echo; got 'other'"):
        benchmarks.suite.make_cells.analyse("other", [one], {})


def test_an_option_that_no_run_knows(bench: Bench) -> None:
    bench.declare(**{"size": PLAIN | {"cells": [{"all": {"train.colour": 1}}]}})
    with pytest.raises(UserError, match=r"options of a run in size/text-seed0; got .*colour"):
        plan_jobs(bench.experiments(), "quick")


def test_a_failed_cell_of_another_configuration_is_no_obstacle(bench: Bench) -> None:
    assert bench("shift") == 0
    cell = bench.cells()["shift/text-seed0"]
    path = write_cell(bench.folder / "cells", cell)
    record = json.loads(path.read_text()) | {"status": "failed", "error": "e", "config": {}}
    path.write_text(json.dumps(record))
    assert bench("shift") == 0
    assert figures_of(bench.cells()) == figures_of({"shift/text-seed0": cell})


def test_an_option_out_of_range_is_refused_before_any_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"cells": [{"axes": {"n": n}, "all": {"data.sequences": n}} for n in (8, 0)]}
    bench.declare(**{"size": PLAIN | wrong})
    assert bench("size") == 2
    assert "size/text-0-seed0; got 0; correct size.yaml" in capsys.readouterr().err
    assert not (bench.folder / "cells").exists()
