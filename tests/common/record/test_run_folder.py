"""The run folder: who may write where, what survives a crash, and the schema of the metrics."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from common.errors import UserError
from common.measure.intervals import Interval
from common.record.manifest import MANIFEST
from common.record.metrics_json import make_metrics
from common.record.provenance import provenance
from common.record.run_folder import MARK, RunFolder

CONFIG = "seed: 0\nout: runs/x\ntrain:\n  lr: 0.0005\n  batch: 8\n"


def finished_run(path: Path) -> RunFolder:
    run = RunFolder.create(path, config_yaml=CONFIG)
    run.append_history({"kind": "update", "update": 1, "train_loss": 3.0})
    run.append_history({"kind": "epoch", "update": 1, "validation_loss": 3.5})
    run.append_history({"kind": "update", "update": 2, "train_loss": 2.0})
    run.manifest.claim(run.checkpoints / "update-2")
    run.checkpoints.mkdir()
    (run.checkpoints / "update-2").write_text("state")
    with run.manifest.adding("model") as added:
        (added / "config.json").write_text("{}")
    return run


def metrics(**training: Any) -> dict[str, Any]:
    return make_metrics(
        domain="text",
        training={
            "outcome": "reached",
            "final_loss": 0.04,
            "updates": 2,
            "seconds": 1.5,
            **training,
        },
        probe={
            "original": {
                "entropy_nats": Interval(4.0, 3.9, 4.1, 64).to_json(),
                "perplexity": Interval(math.inf, 1.0, math.inf, 64).to_json(),
                "gold_rank": Interval(9.0, None, None, 64).to_json(),
                "tokens": 500,
            }
        },
        conditions={
            "original-greedy": {
                "all": {
                    "ttr_96": Interval(0.2, 0.1, 0.3, 30),
                    "overlap_max": Interval(5.0, None, None, 30),
                }
            }
        },
        provenance=provenance(0, ["python", "-m", "text.run"]),
        reference={"condition": "human", "words": "human text"},
    )


def schema() -> dict[str, Any]:
    text = (files("common.record") / "schema" / "metrics.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


def test_a_new_folder_holds_the_configuration_under_our_mark(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a" / "b", config_yaml=CONFIG)
    assert run.config.read_text() == f"{MARK}\n{CONFIG}"


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    with pytest.raises(UserError, match="--overwrite or --resume"):
        RunFolder.create(run.path, config_yaml=CONFIG)
    assert len(run.read_history()) == 3


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    run.write_metrics(metrics())
    (run.path / "notes.txt").write_text("mine")
    RunFolder.create(run.path, config_yaml="seed: 1\n", overwrite=True)
    assert sorted(p.name for p in run.path.iterdir()) == [MANIFEST, "config.yaml", "notes.txt"]
    assert "seed: 1" in run.config.read_text()


def test_overwrite_does_not_follow_a_link(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    elsewhere = tmp_path / "elsewhere"
    run.model.rename(elsewhere)
    run.model.symlink_to(elsewhere)
    RunFolder.create(run.path, config_yaml=CONFIG, overwrite=True)
    assert not run.model.is_symlink() and (run.path / "model.kept").is_symlink()
    assert (elsewhere / "config.json").exists()
    with run.manifest.adding("model") as added:
        (added / "config.json").write_text("new")
    assert (elsewhere / "config.json").read_text() == "{}"


def test_overwrite_refuses_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: precious\n")
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=r"without our list of files"):
        RunFolder.create(tmp_path, config_yaml=CONFIG, overwrite=True)
    assert (tmp_path / "model").is_dir()


def test_leftovers_of_a_killed_start_do_not_count_as_a_run(tmp_path: Path) -> None:
    (tmp_path / f".config.yaml.{'0' * 32}.tmp").write_text("half")
    run = RunFolder.create(tmp_path, config_yaml=CONFIG)
    assert sorted(p.name for p in run.path.iterdir()) == [MANIFEST, "config.yaml"]


def test_an_output_that_is_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="a file stands where"):
        RunFolder.create(tmp_path / "x", config_yaml=CONFIG)


def test_resume_keeps_everything_and_takes_the_new_configuration(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    changed = CONFIG.replace("runs/x", "runs/y")
    RunFolder.create(run.path, config_yaml=changed, resume=True, may_differ={"out"})
    assert len(run.read_history()) == 3
    assert (run.checkpoints / "update-2").exists()
    assert "runs/y" in run.config.read_text()


def test_resume_names_the_key_that_differs(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    changed = CONFIG.replace("0.0005", "0.001")
    with pytest.raises(UserError, match=r"with train\.lr = 0\.0005; got train\.lr = 0\.001"):
        RunFolder.create(run.path, config_yaml=changed, resume=True, may_differ={"out"})
    RunFolder.create(run.path, config_yaml=changed, resume=True, may_differ={"train"})


def test_resume_sees_a_key_that_is_new_or_gone(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    with pytest.raises(UserError, match=r"extra = nothing; got extra = 1"):
        RunFolder.create(run.path, config_yaml=CONFIG + "extra: 1\n", resume=True)
    with pytest.raises(UserError, match=r"seed = 0; got seed = nothing"):
        RunFolder.create(run.path, config_yaml=CONFIG.replace("seed: 0\n", ""), resume=True)


def test_resume_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a run with checkpoints"):
        RunFolder.create(tmp_path / "new", config_yaml=CONFIG, resume=True)
    assert not (tmp_path / "new").exists()
    run = finished_run(tmp_path / "x")
    (run.checkpoints / "update-2").unlink()
    with pytest.raises(UserError, match="a checkpoint to resume from"):
        RunFolder.create(run.path, config_yaml=CONFIG, resume=True)


def test_overwrite_and_resume_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got both"):
        RunFolder.create(tmp_path, config_yaml=CONFIG, overwrite=True, resume=True)


def test_a_torn_last_line_is_dropped_and_mended_by_resume(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    whole = run.read_history()
    with run.history.open("a") as file:
        file.write('{"kind": "update", "upd')
    assert run.read_history() == whole
    RunFolder.create(run.path, config_yaml=CONFIG, resume=True)
    run.append_history({"kind": "update", "update": 3})
    assert run.read_history() == [*whole, {"kind": "update", "update": 3}]


def test_a_broken_line_elsewhere_is_told_with_its_number(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    run.history.write_text('{"update": 1}\noops\n{"update": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        run.read_history()


def test_truncate_drops_what_came_after_an_update(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "x")
    run.truncate_history(1)
    assert [(r["kind"], r["update"]) for r in run.read_history()] == [("update", 1), ("epoch", 1)]


def test_the_history_is_valid_json_even_after_a_nan(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    run.append_history({"kind": "update", "update": 1, "train_loss": math.nan, "rate": 1e-4})
    assert "NaN" not in run.history.read_text()
    assert run.read_history() == [{"kind": "update", "update": 1, "train_loss": None, "rate": 1e-4}]


def test_samples_survive_the_round_trip(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    assert run.read_samples() == []
    samples = [{"prompt": "a\u2028b\n", "tokens": [1, 2]}, {"prompt": "é", "tokens": []}]
    run.write_samples(samples)
    assert run.read_samples() == samples


def test_metrics_follow_the_schema(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    run.write_metrics(metrics(outcome="diverged", final_loss=math.nan))
    read = run.read_metrics()
    jsonschema.validate(read, schema())
    assert read["probe"]["original"] == {
        "entropy_nats": 4.0,
        "perplexity": None,
        "gold_rank": 9.0,
        "tokens": 500,
        "intervals": {
            "entropy_nats": {"mean": 4.0, "low": 3.9, "high": 4.1, "n": 64},
            "gold_rank": {"mean": 9.0, "low": None, "high": None, "n": 64},
        },
    }
    assert read["training"]["final_loss"] is None
    assert read["conditions"]["original-greedy"]["all"]["ttr_96"] == {
        "mean": 0.2, "low": 0.1, "high": 0.3, "n": 30
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("surprise",), 1),
        (("training", "outcome"), "finished"),
        (("training", "updates"), 1.5),
        (("probe", "original", "entropy_nats"), None),
        (("probe", "original", "entropy_nats"), {"mean": 4.0, "low": 3.9, "high": 4.1, "n": 64}),
        (("probe", "original"), {"entropy_nats": 4.0}),
        (("conditions", "original-greedy"), {"fiction": {}}),
        (("conditions", "Original Greedy"), {"all": {}}),
        (("conditions", "original-greedy", "all", "ttr_96", "n"), 0),
        (("conditions", "original-greedy", "all", "ttr_96", "mean"), None),
        (("provenance", "seed"), "zero"),
    ],
)
def test_the_schema_refuses_what_it_should(path: tuple[str, ...], value: Any) -> None:
    changed = json.loads(json.dumps(metrics()))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema())


def test_a_nan_that_has_no_meaning_is_never_written(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "x", config_yaml=CONFIG)
    run.write_metrics(metrics())
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write_metrics(metrics(seconds=math.nan))
    assert run.read_metrics()["training"]["seconds"] == 1.5


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema": 99}'])
def test_reading_no_or_foreign_metrics_is_a_user_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match="a finished run"):
        RunFolder(tmp_path).read_metrics()
