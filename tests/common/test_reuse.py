"""Stages are computed once and equal when read; a shared name follows what it names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from walk_runs import CONFIG, Walks

import common.reuse
from common.config import MeasureConfig
from common.domain import Condition, PromptSet
from common.reuse import SOURCES, Stages, original_key
from common.tools.device import Compute

COMPUTE = Compute(torch.device("cpu"), bf16=False)


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


@pytest.mark.parametrize(
    "changed", ["weights", "prompts", "references", "blocker", "batch", "conditions", "samples"]
)
def test_the_shared_name_follows_what_is_measured(changed: str) -> None:
    class Changed(Walks):
        def prompts(self) -> list[PromptSet]:
            near, far = super().prompts()
            if changed == "prompts":
                far = replace(far, ids_PC=far.ids_PC.flip(0))
            if changed == "references":
                far = replace(far, references=far.references[::-1])
            return [near, far]

        def conditions(self) -> list[Condition]:
            greedy, *others = super().conditions()
            more = [replace(greedy, name="original-more")] if changed == "conditions" else []
            return [replace(greedy, blocked=changed == "blocker"), *more, *others]

    def key(domain: Walks, measure: MeasureConfig = CONFIG.measure) -> str:
        return original_key(domain, measure, seed=0, compute=COMPUTE)

    domain, measure = Changed(), CONFIG.measure
    if changed == "weights":
        with torch.no_grad():
            next(domain.model.parameters())[0, 0] += 1e-3
    if changed == "batch":
        measure = replace(measure, batch_size=3)
    if changed == "samples":
        measure = replace(measure, samples_per_prompt=3)
    assert key(domain, measure) != key(Walks()) == key(Walks())


def test_the_shared_name_follows_the_code_of_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return original_key(Walks(), CONFIG.measure, seed=0, compute=COMPUTE)

    # The whole package, whose chapters are folders.
    assert Path(common.__path__[0]) == SOURCES
    copy = Path(shutil.copytree(SOURCES, tmp_path / "common"))
    before = key()
    monkeypatch.setattr(common.reuse, "SOURCES", copy)
    assert key() == before
    folders = sorted(path for path in copy.iterdir() if list(path.glob("*.py")))
    assert {"decode", "measure", "model", "tools"} <= {path.name for path in folders}
    names = [before]
    for file in [copy / "evaluate.py", *(folder / "__init__.py" for folder in folders)]:
        file.write_text(file.read_text() + "# changed\n")
        names.append(key())
    assert len(set(names)) == len(names)
