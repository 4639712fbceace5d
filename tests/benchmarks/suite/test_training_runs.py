"""Shared runs, made by a stand-in for the commands: once, resumed, failed, waited for."""

from __future__ import annotations

import fcntl
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import benchmarks.suite.training_runs
from benchmarks.suite.run_figures import curve, figures
from benchmarks.suite.training_runs import PlannedRun, RunFailedError, Runs, plan_run
from common.errors import UserError

FAKE = Path(__file__).parents[2] / "fake_run.py"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setitem(
        benchmarks.suite.training_runs.COMMANDS, "text", [sys.executable, str(FAKE)]
    )
    monkeypatch.setenv("FAKE_KILL", str(tmp_path / "kill"))
    return Runs(tmp_path / "runs", lines.append)


lines: list[str] = []


def plan(**options: Any) -> PlannedRun:
    return plan_run("text", {name.replace("__", "."): v for name, v in options.items()})


def starts(runs: Runs) -> list[str]:
    return (runs.folder / "starts.txt").read_text().splitlines()


def test_a_name_follows_what_is_computed() -> None:
    one = plan(seed=1)
    assert one.name == plan(seed=1, name="x", out="y", measure__share_original="z").name
    others = [
        plan(seed=2),
        plan(seed=1, train__tune="all"),
        plan_run("text", {"seed": 1}, repeat=1),
    ]
    assert len({one.name, *(other.name for other in others), plan_run("image", {}).name}) == 5
    assert one.options["seed"] == 1 and "out" not in one.options
    assert one.name.startswith("text-") and len(one.name) == 17


def test_where_data_lie_is_not_in_the_name(tmp_path: Path) -> None:
    plain = plan_run("image", {"data.train": "cifar10"})
    rooted = plan_run("image", {"data.train": "cifar10", "data.root": str(tmp_path)})
    folder = {"data.train": str(tmp_path / "train")}
    placed = plan_run("image", folder, stands_for={"data.train": "cifar10"})
    assert plain.name == rooted.name == placed.name
    assert placed.config.data.train == str(tmp_path / "train")  # type: ignore[attr-defined]
    assert str(tmp_path.parent) not in json.dumps(plan_run("image", folder).options)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UserError, match=r"text\.run"):
        plan(train__colour=1)


def test_a_run_is_made_once_and_its_checkpoints_go(runs: Runs) -> None:
    run = plan(seed=3)
    assert not runs.finished(run)
    folder = runs.ensure(run)
    assert runs.ensure(run) == folder == runs.folder / run.name
    assert starts(runs) == [f"{run.name} "]
    assert runs.finished(run) and not (folder / "checkpoints").exists()
    assert (folder / "model").is_dir()
    config = yaml.safe_load((runs.folder / f"{run.name}.yaml").read_text())
    assert config["seed"] == 3 and config["train"]["batch_size"] == 4  # the whole configuration
    assert config["measure"]["share_original"] == str(runs.folder / "shared_original")


def test_a_killed_run_goes_on_and_ends_alike(runs: Runs, tmp_path: Path) -> None:
    run = plan(seed=1)
    whole = figures(Runs(tmp_path / "other", lines.append).ensure(run)).metrics
    (tmp_path / "kill").write_text("self")
    with pytest.raises(RunFailedError, match="ended by signal 9; see text-.*log"):
        runs.ensure(run)
    with pytest.raises(RunFailedError, match="ended by signal 9"):  # once a call
        runs.ensure(run)
    again = Runs(runs.folder, lines.append)
    assert figures(again.ensure(run)).metrics == whole
    assert starts(runs) == [f"{run.name} ", f"{run.name} --resume"]


def test_what_is_left_without_a_checkpoint_is_begun_anew(runs: Runs) -> None:
    run = plan(seed=1)
    runs.path(run).mkdir(parents=True)
    runs.ensure(run)
    assert starts(runs) == [f"{run.name} --overwrite"]


def test_sigterm_reaches_the_run_and_the_rest_goes_on_later(runs: Runs, tmp_path: Path) -> None:
    run = plan(seed=1)
    (tmp_path / "kill").write_text("suite")
    with pytest.raises(KeyboardInterrupt):
        runs.ensure(run)
    assert not runs.finished(run)
    runs.ensure(run)
    assert starts(runs)[-1] == f"{run.name} --resume"


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (13, "expected other sequences; got 13; change data.sequences"),
        (14, "the run text-.* ended with code 3; see text-.*log"),
    ],
)
def test_failures_carry_their_line(runs: Runs, sequences: int, message: str) -> None:
    with pytest.raises(RunFailedError, match=f"^{message}$"):
        runs.ensure(plan(data__sequences=sequences))


def test_a_target_that_was_missed_is_a_result(runs: Runs) -> None:
    found = figures(runs.ensure(plan(data__sequences=15)))
    assert found.metrics["training/reached"].mean == 0.0
    assert found.series["training"] == [{"outcome": "budget_exhausted", "message": "as told"}]


def test_a_folder_of_other_options_is_refused(runs: Runs) -> None:
    run = plan(seed=1)
    path = runs.ensure(run) / "config.yaml"
    path.write_text(path.read_text().replace("seed: 1", "seed: 2", 1))
    with pytest.raises(RunFailedError, match="got another seed; delete that folder"):
        Runs(runs.folder, lines.append).ensure(run)


def test_a_run_that_another_process_is_at_is_waited_for(runs: Runs) -> None:
    run = plan(seed=1)
    runs.folder.mkdir()
    log = (runs.folder / f"{run.name}.log").open("ab")
    fcntl.flock(log, fcntl.LOCK_EX)
    held: list[bool] = []

    def release() -> None:
        while not any(run.name in line for line in lines):
            time.sleep(0.01)
        held.append(not (runs.folder / "starts.txt").exists())
        log.close()

    lines.clear()
    thread = threading.Thread(target=release)
    thread.start()
    runs.ensure(run)
    thread.join()
    assert held == [True] and len(starts(runs)) == 1
    assert [line.strip() for line in lines] == [f"another process is at {run.name}; waiting for it"]


def test_figures_of_a_run(runs: Runs) -> None:
    folder = runs.ensure(plan(seed=1))
    found = figures(folder)
    ttr = found.metrics["hyperfitted-greedy/all/ttr_96"]
    assert (ttr.mean, ttr.low, ttr.high, ttr.n) == (ttr.mean, ttr.mean - 1, ttr.mean + 1, 8)
    assert found.metrics["hyperfitted-greedy/news/ttr_96"] == ttr
    assert found.metrics["probe/original/entropy_nats"].low == ttr.low
    median = found.metrics["probe/original/gold_rank_median"]
    assert (median.mean, median.low, median.n) == (1.0, None, 8)
    assert "probe/original/perplexity" not in found.metrics  # it overflowed
    assert found.metrics["training/final_loss"].mean == 0.04
    assert found.metrics["training/reached"].mean == 1.0
    assert not {"training/target_loss", "training/outcome"} & found.metrics.keys()
    assert found.series["curve"] == [
        {"update": 0, "epoch": 0.0, "validation_loss": 4.0, "ttr_96": 0.2},
        {"update": 5, "epoch": 1.0, "validation_loss": 5.0, "ttr_96": 0.6, "train_loss": 0.5},
    ]
    assert (found.seconds, found.provenance["git_commit"]) == (60.0, "abc")
    kept = figures(folder, keep=["*/all/*", "training/*"]).metrics
    assert kept and all("/all/" in name or name.startswith("training/") for name in kept)


def test_a_validation_that_was_repeated_counts_once() -> None:
    lines = [{"kind": "epoch", "update": 8, "ttr_96": value} for value in (0.1, 0.2)]
    lines.append({"kind": "update", "update": 8, "train_loss": None})  # it was not finite
    assert curve(lines) == [{"update": 8, "ttr_96": 0.2}]
