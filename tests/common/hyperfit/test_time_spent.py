"""Seconds by part add up, and the line tells the largest first."""

from __future__ import annotations

import pytest

import common.hyperfit.time_spent
from common.hyperfit.time_spent import PARTS, TimeSpent, time_line


def test_parts_and_the_rest_are_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr(common.hyperfit.time_spent.time, "perf_counter", lambda: next(clock))
    spent = TimeSpent()
    with spent.on("validation"):
        pass
    with pytest.raises(KeyError), spent.on("curve"):
        raise KeyError  # a part that fails took its time too
    spent.add("updates", 30.0)
    parts = spent.parts(40.0)
    assert parts == dict.fromkeys(PARTS, 0.0) | {
        "validation": 2.5,
        "curve": 1.0,
        "updates": 30.0,
        "other": 6.5,
    }


def test_the_line() -> None:
    parts = {"curve": 3.0, "updates": 86.0, "first_update": 10.8, "checkpoints": 0.2}
    line = "Training time: 86 % updates, 11 % first update and compilation, 3 % curve."
    assert time_line(parts) == line
    assert time_line(dict.fromkeys(PARTS, 0.0)) == "Training time: none."
