"""What --overwrite may delete: the files that a run of ours listed, whatever happens in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.record.manifest import MANIFEST, Manifest, files_below
from common.record.run_folder import MARK, RunFolder
from common.reuse import Stages

CONFIG = "seed: 0\n"


def run_in(path: Path, **options: Any) -> RunFolder:
    """A run with a file of every kind."""
    run = RunFolder.create(path, config_yaml=CONFIG, **options)
    run.append_history({"kind": "update", "update": 1})
    Checkpoints(run.checkpoints, run.manifest.claim).save(1, {"a": 1})
    Stages(run.checkpoints / "stages", run.manifest.claim).once("original-0", dict)
    with run.manifest.adding("model") as added:
        (added / "image_tokenizer").mkdir()
        (added / "image_tokenizer" / "config.json").write_text("{}")
        (added / "model.safetensors").write_text("weights")
    with run.manifest.adding() as added:
        (added / "pictures").mkdir()
        (added / "pictures" / "sheet.png").write_text("png")
    run.write_samples([])
    run.write_text(run.report, "<html>")
    return run


def test_every_file_of_a_run_is_listed(tmp_path: Path) -> None:
    run = run_in(tmp_path / "x")
    assert run.manifest.foreign() == []
    assert run.manifest.files() == set(files_below(run.path)) - {MANIFEST}


def test_overwrite_leaves_nothing_of_a_run_behind(tmp_path: Path) -> None:
    run = run_in(tmp_path / "x")
    RunFolder.create(run.path, config_yaml=CONFIG, overwrite=True)
    assert sorted(p.name for p in run.path.iterdir()) == [MANIFEST, "config.yaml"]


def test_a_project_with_a_copied_configuration_keeps_its_folders(tmp_path: Path) -> None:
    """The case of a folder that lost its own model/ and pictures/ for the mark in a copied file."""
    run, project = run_in(tmp_path / "x"), tmp_path / "project"
    for name in ("model/weights.bin", "pictures/holiday.png", "checkpoints/mine.pt"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("mine")
    (project / "config.yaml").write_bytes(run.config.read_bytes())
    before = files_below(project)
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError, match=r"without our list of files.*a copy of a run.*by hand"):
            RunFolder.create(project, config_yaml=CONFIG, **how)
    assert files_below(project) == before


def test_a_folder_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{MARK}\n{CONFIG}")
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"earlier version.*choose another --out, or remove it"):
        RunFolder.create(tmp_path, config_yaml=CONFIG, overwrite=True)
    assert (tmp_path / "metrics.json").exists()


def test_foreign_files_stay_wherever_they_are_and_are_told_of_once(tmp_path: Path) -> None:
    run, told = run_in(tmp_path / "x"), []
    mine = ["notes.txt", "model/extra.txt", "pictures/deep/er/holiday.png", "checkpoints/mine.pt"]
    for name in mine:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("mine")
    RunFolder.create(run.path, config_yaml=CONFIG, overwrite=True, tell=told.append)
    assert set(files_below(run.path)) == {*mine, MANIFEST, "config.yaml"}
    (line,) = told
    assert "4 of them" in line and "checkpoints/mine.pt, model/extra.txt, notes.txt, ..." in line


def test_nothing_is_told_where_nothing_is_foreign(tmp_path: Path) -> None:
    told: list[str] = []
    run_in(tmp_path / "x", tell=told.append)
    RunFolder.create(tmp_path / "x", config_yaml=CONFIG, overwrite=True, tell=told.append)
    assert told == []


def test_a_foreign_file_in_the_way_is_moved_aside_not_replaced(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    (run.path / "model").write_text("a file where the folder is due")
    run.samples.write_text("mine")
    run.report.mkdir()
    run_in(run.path, overwrite=True)
    assert run.samples.read_text() == "" and run.report.read_text() == "<html>"
    assert (run.path / "samples.jsonl.kept").read_text() == "mine"
    assert (run.path / "report.html.kept").is_dir()
    assert (run.path / "model.kept").read_text() == "a file where the folder is due"
    assert (run.model / "model.safetensors").read_text() == "weights"
    run.samples.unlink()
    Manifest(run.path).remove_files()
    run.samples.write_text("mine again")
    run_in(run.path, overwrite=True)
    assert (run.path / "samples.jsonl.kept2").read_text() == "mine again"


def test_old_checkpoints_leave_the_list(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    checkpoints = Checkpoints(run.checkpoints, run.manifest.claim)
    for update in range(9):
        checkpoints.save(update, {})
    listed = [name for name in run.manifest.files() if "checkpoints" in name]
    assert len(listed) <= 6 and "history.jsonl" in run.manifest.files()
    assert run.manifest.foreign() == []


def killed_at(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """`os.replace` and `os.unlink` end the process, so to speak, at a call of theirs."""
    calls = [0]

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: Any, **options: Any) -> None:
            calls[0] += 1
            if calls[0] == call:
                raise KeyboardInterrupt
            real(*arguments, **options)

        return step

    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    return calls


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_kill_at_any_moment_leaves_nothing_unlisted(
    tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is there after it is ours or foreign as it was, and --overwrite takes it."""
    for call in range(1, 100):
        path = tmp_path / f"run{call}"
        if overwrite:
            run_in(path)
            (path / "model" / "mine.txt").write_text("mine")
        with monkeypatch.context() as patch:
            calls = killed_at(patch, call)
            try:
                run_in(path, overwrite=overwrite)
                done = calls[0] < call
            except KeyboardInterrupt:
                done = False
        mine = ["model/mine.txt"] if overwrite else []
        assert Manifest(path).foreign() == mine, call
        assert not overwrite or (path / "model" / "mine.txt").read_text() == "mine"
        RunFolder.create(path, config_yaml=CONFIG, overwrite=True)
        assert set(files_below(path)) == {MANIFEST, "config.yaml", *mine}, call
        assert not [p for p in path.rglob("*") if p.name.endswith(".tmp")], call
        if done:
            break
    assert done and call > 15


def test_an_interrupted_save_leaves_the_earlier_model_whole(tmp_path: Path) -> None:
    run = run_in(tmp_path / "x")
    with pytest.raises(KeyboardInterrupt), run.manifest.adding("model") as added:
        (added / "model.safetensors").write_text("half of n")
        raise KeyboardInterrupt
    assert (run.model / "model.safetensors").read_text() == "weights"
    assert run.manifest.foreign() == [] and not list(run.path.glob(".*.tmp"))


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"schema": 2, "files": []}', '{"schema": 1, "files": [3]}']
    + [
        json.dumps({"schema": 1, "files": [name]}) for name in ("../victim", "/victim", "a/../../v")
    ],
)
def test_a_damaged_list_deletes_nothing(content: str, tmp_path: Path) -> None:
    run = run_in(tmp_path / "x")
    (tmp_path / "victim").write_text("mine")
    run.manifest.path.write_text(content)
    with pytest.raises(UserError, match="got a damaged one; remove the folder by hand"):
        RunFolder.create(run.path, config_yaml=CONFIG, overwrite=True)
    assert (tmp_path / "victim").exists() and run.samples.exists()


def test_what_a_tracker_makes_is_listed_and_what_was_there_is_not(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    (run.path / "tracker").mkdir()
    (run.path / "tracker" / "mine").write_text("mine")
    with run.manifest.claiming("tracker") as claim_made:
        (run.path / "tracker" / "events").write_text("")
        claim_made()
    assert "tracker/events" in run.manifest.files()
    assert run.manifest.foreign() == ["tracker/mine"]


def test_a_copy_of_a_run_gets_no_list_when_its_report_is_made_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_text(run.report, "<html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
