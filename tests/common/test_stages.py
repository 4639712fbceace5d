"""Stages: computed once, read afterwards, equal either way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.stages import Stages


def test_computed_once_and_equal_when_read(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> object:
        calls.append(1)
        return {"ids": [np.array([1, 2, 3]), np.array([], dtype=np.int64)], "mean": 0.1, "n": None}

    expected = {"ids": [[1, 2, 3], []], "mean": 0.1, "n": None}
    assert Stages(tmp_path / "a" / "stages").once("original-0", compute) == expected
    assert Stages(tmp_path / "a" / "stages").once("original-0", compute) == expected
    assert len(calls) == 1
    Stages(tmp_path / "a" / "stages").once("hyperfitted-8", compute)
    assert len(calls) == 2


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    stages = Stages(tmp_path)

    def fails() -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.once("original-0", fails)
    with pytest.raises(TypeError, match="no JSON form"):
        stages.once("original-0", lambda: object())
    assert list(tmp_path.iterdir()) == []
    assert stages.once("original-0", lambda: 3) == 3


def test_a_kept_value_that_does_not_serve_is_computed_again(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    assert stages.once("original-0", lambda: ["a"]) == ["a"]
    wanted = ["a", "b"]
    assert stages.once("original-0", lambda: wanted, usable=lambda kept: "b" in kept) == wanted
    assert stages.once("original-0", lambda: 1 / 0, usable=lambda kept: "b" in kept) == wanted
