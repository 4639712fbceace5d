"""What is recorded about a run, and that missing tools never stop it."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from common.record.provenance import CHECKOUT, _result_paths, git_state, provenance, shorten_paths


def test_versions_seed_date_and_command_are_recorded() -> None:
    record = provenance(7, ["text/run.py", "--out", str(Path.cwd() / "runs" / "x")])
    assert record["versions"]["torch"] == torch.__version__
    assert record["versions"]["numpy"] == np.__version__
    assert record["seed"] == 7
    assert record["command"] == ["text/run.py", "--out", "runs/x"]
    assert datetime.fromisoformat(record["date_utc"]).utcoffset() == timedelta(0)
    assert 1 <= record["cpu_cores"] <= (os.cpu_count() or 1)
    assert record["cpu_threads"] == torch.get_num_threads()
    assert record["cpu"]
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize(
    ("argument", "short"),
    [
        ("/home/me/work/runs/x", "runs/x"),
        ("--out=/home/me/work/runs/x", "--out=runs/x"),
        ("/home/me/work", "."),
        ("--data=/home/me/secret/tales.jsonl", "--data=.../tales.jsonl"),
        ("/home/me/workshop/x", ".../x"),
        ("['/srv/a.txt', '/srv/b.txt']", "['.../a.txt', '.../b.txt']"),
        ("either/or", "either/or"),
        ("../up/x", "../up/x"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_absolute_paths_are_shortened(argument: str, short: str) -> None:
    assert shorten_paths(argument, Path("/home/me/work")) == short


IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b.c"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    root = tmp_path / "checkout"
    (root / "site-packages").mkdir(parents=True)
    (root / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], [*IDENTITY, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def test_commit_and_dirty_flag_of_a_checkout(checkout: Path) -> None:
    head = (checkout / ".git" / "HEAD").read_text().split()[1]
    commit = (checkout / ".git" / head).read_text().strip()
    assert git_state(checkout) == (commit, False)
    (checkout / "a").write_text("2")
    assert git_state(checkout) == (commit, True)


def test_new_results_do_not_make_a_checkout_dirty(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text('[tool.hyperfitting]\nresults = ["out/results"]\n')
    for command in (["add", "pyproject.toml"], [*IDENTITY, "commit", "-q", "-m", "results"]):
        subprocess.run(["git", "-C", str(checkout), *command], check=True)
    results = checkout / "out" / "results" / "suite"
    results.mkdir(parents=True)
    (results / "cell.json").write_text("{}")
    assert git_state(checkout)[1] is False
    (checkout / "out" / "new.py").write_text("")
    assert git_state(checkout)[1] is True


def test_the_results_of_this_project_are_listed() -> None:
    listed = _result_paths(CHECKOUT)
    assert listed and all((CHECKOUT / path).exists() for path in listed)
    assert _result_paths(CHECKOUT / "no-such-folder") == []


def test_a_package_inside_a_foreign_checkout_has_no_commit(checkout: Path) -> None:
    assert git_state(checkout / "site-packages") == (None, None)


def test_without_git_or_checkout_nothing_is_raised(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout) == (None, None)


def test_threads_and_cores_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    record = provenance(0, [])
    assert (record["cpu_cores"], record["cpu_threads"]) == (3, 2)
