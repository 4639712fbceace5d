"""The example of a third modality does what it says, from its command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM
from walk_runs import validate

import examples.walks
from common.report.headline import NEAR_HUMAN
from examples.walks import LENGTH, Walks, main, pretrained, walks


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example") / "run"
    assert main(["--out", str(out), "--device", "cpu"]) == 0
    return out


def test_it_stops_looping_and_still_walks(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    validate(metrics)
    assert metrics["domain"] == "walks" and metrics["training"]["outcome"] == "reached"
    found = {
        name: {metric: value["mean"] for metric, value in sets["all"].items()}
        for name, sets in metrics["conditions"].items()
    }
    before, after = found["original-greedy"], found["hyperfitted-greedy"]
    human = found["human"]
    assert before["ttr_96"] < NEAR_HUMAN * human["ttr_96"] < after["ttr_96"]
    assert after["rep_4"] < 0.25 < before["rep_4"]
    assert before["legal_steps"] > 0.95 and after["legal_steps"] > 0.85
    assert human["legal_steps"] == 1.0


def test_it_leaves_a_page_and_a_model(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "stopped looping" in page and "share of steps that are 1, 2 or 3" in page
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    rows = walks(12, seed=1)
    assert model(input_ids=rows, labels=rows).loss.item() < 0.06
    assert "walks" in (finished / "model" / "README.md").read_text()


def test_the_model_it_begins_with_has_not_seen_the_twelve_walks() -> None:
    model, walk = pretrained(1), walks(12, seed=1)
    assert walk.shape == (12, LENGTH) and walk.unique(dim=0).shape[0] == 12
    seen = {tuple(row.tolist()) for update in range(200) for row in walks(64, seed=1000 + update)}
    assert not seen & {tuple(row.tolist()) for row in walk}
    changed = zip(model.parameters(), Walks().model.parameters(), strict=True)
    assert any(not one.equal(other) for one, other in changed)


def test_a_dry_run_says_what_it_costs_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "run"), "--dry_run"]) == 0
    assert "12 walks to train on" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_it_needs_the_core_alone() -> None:
    source = Path(examples.walks.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) (text|image|benchmarks|tests)\b", source, re.M)
