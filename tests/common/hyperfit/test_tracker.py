"""What reaches a tracker, as a fake one sees it (tensorboard: in the run's test)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import common.hyperfit.tracker
from common.errors import UserError
from common.hyperfit.tracker import tracked
from common.record.journal import Journal


class FakeTracker:
    """Notes what accelerate's trackers are asked to do."""

    requires_logging_directory = True
    calls: list[Any]

    def __init__(self, project: str, folder: Path) -> None:
        FakeTracker.calls = [(project, folder)]

    def start(self) -> None:
        self.calls.append("start")

    def store_init_configuration(self, options: dict[str, Any]) -> None:
        self.calls.append(options)

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append((step, values))

    def finish(self) -> None:
        self.calls.append("end")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(common.hyperfit.tracker.LOGGER_TYPE_TO_CLASS, "tensorboard", FakeTracker)


FOLDER = Path("out") / "tracker"
PRINTED = Journal(write=print, forget_after=print)


def test_numbers_of_a_record_at_their_update() -> None:
    lines: list[Any] = []
    forgotten: list[int] = []
    options = {"seed": 1, "train.tune": "all", "data.train": ["a"], "out": None}
    journal = Journal(write=lines.append, forget_after=forgotten.append)
    with tracked(journal, "tensorboard", folder=FOLDER, project="p", options=options) as both:
        both.write({"kind": "update", "update": 8, "train_loss": 0.5, "phase": "descend"})
        both.write({"kind": "event", "update": 9, "event": "stall", "message": "raised"})
        both.forget_after(7)
        both.write({"kind": "epoch", "update": 16, "ttr_96": None, "epoch": 2})
    assert [line["update"] for line in lines] == [8, 9, 16] and forgotten == [7]
    shown = {"seed": 1, "train.tune": "all", "data.train": "['a']", "out": "None"}
    assert FakeTracker.calls == [
        ("p", FOLDER),
        "start",
        shown,
        (8, {"update/train_loss": 0.5}),
        (16, {"epoch/epoch": 2}),
        "end",
    ]


def test_an_interrupted_run_still_closes_its_tracker() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        tracked(PRINTED, "tensorboard", folder=FOLDER, project="p", options={}),
    ):
        raise KeyboardInterrupt
    assert FakeTracker.calls[-1] == "end"


def test_without_a_tracker_the_history_stays_alone() -> None:
    with tracked(PRINTED, "none", folder=FOLDER, project="p", options={}) as journal:
        assert journal is PRINTED


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio"])
def test_missing_tracker(monkeypatch: pytest.MonkeyPatch, tracker: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    fix = r"hyperfitting\[track\]" if tracker == "tensorboard" else f"pip install {tracker}"
    with (
        pytest.raises(UserError, match=fix),
        tracked(PRINTED, tracker, folder=FOLDER, project="p", options={}),
    ):
        pass
