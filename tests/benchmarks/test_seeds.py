"""The summary over seeds, on run folders written by the test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.seeds import COLUMNS, load, main, summarise, table
from common.errors import UserError, run_cli

CONDITIONS = ("original-greedy", "hyperfitted-greedy", "hyperfitted-greedy-blocked")


def interval(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 40}


def write_run(
    folder: Path,
    seed: int,
    *,
    ttr: tuple[float, float, float],
    domain: str = "text",
    without: Sequence[str] = (),
    **config: Any,
) -> Path:
    folder.mkdir()
    metrics = {
        "schema": 1,
        "domain": domain,
        "training": {
            "outcome": "reached",
            "final_loss": 0.04,
            "updates": 100 + seed,
            "epochs": 10.0,
            "seconds": 60.0,
            "total_seconds": 90.0,
        },
        "probe": {
            "original": {"entropy_nats": 4.0, "top1_mass": 0.25},
            "hyperfitted": {"entropy_nats": 2.0 + seed, "top1_mass": 0.5},
        },
        "conditions": {
            condition: {"all": {name: interval(value) for name in COLUMNS[domain]}}
            for condition, value in zip(CONDITIONS, ttr, strict=True)
        },
        "provenance": {"seed": seed},
    }
    for left_out in without:
        del metrics["conditions"][left_out]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "model": "m"} | config))
    return folder


def test_ratios_are_taken_within_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [
        write_run(tmp_path / "a", 0, ttr=(0.2, 0.6, 0.58)),
        write_run(tmp_path / "b", 1, ttr=(0.3, 0.6, 0.65)),
    ]
    summary = summarise(load(folders))
    ratio = summary["ratios"]["ttr_96, hyperfitted greedy / original greedy"]
    assert ratio["values"] == pytest.approx([3.0, 2.0])
    assert (ratio["mean"], ratio["min"], ratio["max"]) == pytest.approx((2.5, 2.0, 3.0))
    entropy = summary["ratios"]["held-out entropy, hyperfitted / original"]
    assert entropy["values"] == pytest.approx([0.5, 0.75])
    assert summary["ttr_96 moved by the blocker"]["values"] == pytest.approx([0.02, 0.05])
    assert summary["n_prompts"] == 40

    out = tmp_path / "summary.json"
    assert main([*map(str, folders), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["ratios"] == summary["ratios"]
    assert "| hyperfitted greedy | 0.600 [0.600, 0.600]" in capsys.readouterr().out


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", 0, ttr=(0.2, 0.6, 0.6))
    other = write_run(tmp_path / "b", 1, ttr=(0.2, 0.6, 0.6), model="another")
    with pytest.raises(UserError, match="differing in model"):
        load([one, other])


def test_one_seed_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_run(tmp_path / n, 0, ttr=(0.2, 0.6, 0.6)) for n in "ab"]
    assert run_cli(main, [str(folder) for folder in folders]) == 2
    assert capsys.readouterr().err.startswith("error: expected one run per seed")


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metrics.json"):
        load([tmp_path])


def test_image_runs_are_summarised_by_their_own_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run(tmp_path / str(s), s, ttr=(0.2, 0.6, 0.6), domain="image") for s in (0, 1)]
    assert main([str(run) for run in runs]) == 0
    printed = capsys.readouterr().out
    assert "fid[cifar-net]" in printed and "rep_4" not in printed
    assert "code_ttr, hyperfitted greedy / original greedy: 3.000" in printed


def test_domains_are_not_mixed(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / "a", 0, ttr=(0.2, 0.6, 0.6)),
        write_run(tmp_path / "b", 1, ttr=(0.2, 0.6, 0.6), domain="image"),
    ]
    with pytest.raises(UserError, match="one domain"):
        load(folders)


def change(folder: Path, edit: Any) -> None:
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text())
    edit(metrics)
    path.write_text(json.dumps(metrics))


def test_older_and_newer_runs_are_compared_on_what_both_measured(tmp_path: Path) -> None:
    old, new = (write_run(tmp_path / str(s), s, ttr=(0.2, 0.6, 0.6)) for s in (0, 1))

    def add(metrics: dict[str, Any]) -> None:
        metrics["conditions"]["original-top-p-t1"] = metrics["conditions"]["original-greedy"]
        settings = {"top_p": 0.9, "temperature": 1.0}
        method = {"stage": "original", "blocked": False, "settings": settings}
        metrics["methods"] = {"original-top-p-t1": method}

    change(new, add)
    for order in ([old, new], [new, old]):
        assert list(summarise(load(order))["conditions"]) == list(CONDITIONS)
    printed = table(summarise(load([new])))
    assert "| original, top-p 0.9, T 1 | 0.200 [0.200, 0.200]" in printed


def test_an_unknown_final_loss_is_left_out(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(s), s, ttr=(0.2, 0.6, 0.6)) for s in (0, 1)]
    change(runs[1], lambda metrics: metrics["training"].update(final_loss=None))
    summary = summarise(load(runs))
    assert "final_loss" not in summary["training"] and "updates" in summary["training"]
    assert "training final_loss" not in table(summary)


def test_runs_without_the_blocker(tmp_path: Path) -> None:
    """A run measures the conditions that it was asked for; both greedy ones are always there."""
    blocked = ("hyperfitted-greedy-blocked",)
    folders = [
        write_run(tmp_path / "a", 0, ttr=(0.2, 0.6, 0.58)),
        write_run(tmp_path / "b", 1, ttr=(0.3, 0.6, 0.65), without=blocked),
    ]
    summary = summarise(load(folders))
    assert list(summary["conditions"]) == ["original-greedy", "hyperfitted-greedy"]
    assert "moved by the blocker" not in table(summary)
    assert "hyperfitted greedy / original greedy: 2.500" in table(summary)
