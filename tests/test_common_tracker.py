"""What reaches a tracker, as a fake accelerator sees it (tensorboard: in the run's test)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from accelerate import Accelerator

from common.tracker import tracked


class FakeAccelerator:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def init_trackers(self, project: str, options: dict[str, Any]) -> None:
        self.calls.append(("init", project, options))

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append((step, values))

    def end_training(self) -> None:
        self.calls.append("end")


def test_numbers_of_a_record_at_their_update() -> None:
    fake, lines = FakeAccelerator(), []
    options = {"seed": 1, "train.tune": "all", "data.train": ["a"], "out": None}
    with tracked(lines.append, cast(Accelerator, fake), project="p", options=options) as history:
        history({"kind": "update", "update": 8, "train_loss": 0.5, "phase": "descend"})
        history({"kind": "event", "update": 9, "event": "stall", "message": "raised"})
        history({"kind": "epoch", "update": 16, "ttr_96": None, "epoch": 2})
    assert [line["update"] for line in lines] == [8, 9, 16]
    shown = {"seed": 1, "train.tune": "all", "data.train": "['a']", "out": "None"}
    assert fake.calls == [
        ("init", "p", shown),
        (8, {"update/train_loss": 0.5}),
        (16, {"epoch/epoch": 2}),
        "end",
    ]


def test_an_interrupted_run_still_closes_its_tracker() -> None:
    fake = FakeAccelerator()
    with (
        pytest.raises(KeyboardInterrupt),
        tracked(print, cast(Accelerator, fake), project="p", options={}),
    ):
        raise KeyboardInterrupt
    assert fake.calls[-1] == "end"
