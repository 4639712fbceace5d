"""Opening a finished run: models, prompts and samples are those of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import text.run
from benchmarks.analyses.finished_run import FinishedRun
from common.decode.methods import (
    greedy_config,
    min_p_config,
    repetition_penalty_config,
    sampling_config,
)
from common.errors import UserError

# A few updates are enough: nothing here depends on how well the model fits.
SHORT = (
    *("--data.long_new_tokens", "20", "--data.max_prompts", "4"),
    *("--schedule.mode", "fixed", "--schedule.fixed_updates", "6"),
    *("--measure.curve_prompts", "0"),
)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, tiny_run: tuple[str, ...]
) -> Path:
    """A finished run; not to be changed by a test."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    argv = ["--model", str(tiny_checkpoint), "--out", str(out), *tiny_run, *SHORT]
    assert text.run.main(argv) == 0
    return out


@pytest.fixture(scope="module")
def run(folder: Path) -> FinishedRun:
    return FinishedRun.open(folder)


def test_both_models_are_those_of_the_run(
    run: FinishedRun, folder: Path, tiny_checkpoint: Path
) -> None:
    for model, path in ((run.original, tiny_checkpoint), (run.hyperfitted, folder / "model")):
        saved = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).state_dict()
        assert not model.training
        assert {name: w.dtype for name, w in model.state_dict().items()} == dict.fromkeys(
            saved, torch.float32
        )
        assert all(torch.equal(w, saved[name]) for name, w in model.state_dict().items())
    weight = "model.layers.1.mlp.down_proj.weight"
    assert not torch.equal(
        run.original.get_parameter(weight), run.hyperfitted.get_parameter(weight)
    )
    assert list(run.models()) == ["original", "hyperfitted"]


def test_prompts_are_the_pooled_ones(run: FinishedRun) -> None:
    assert run.pooled_sets == ("fiction", "news", "encyclopedia")
    assert run.prompts.ids_PC.shape == (12, 6) and run.first == 6
    assert run.truth_PT.shape == (12, 16)
    human = np.stack(run.sampled("human"))
    np.testing.assert_array_equal(run.truth_PT[:, 6:], human)


def test_greedy_again_is_what_the_run_wrote(run: FinishedRun) -> None:
    for stage, model in run.models().items():
        again = run.generate(model, greedy_config())
        np.testing.assert_array_equal(again, run.sampled(f"{stage}-greedy"))
        assert run.condition_of(stage, greedy_config()) == f"{stage}-greedy"
    first_two = run.generate(run.original, greedy_config(), prompts_PC=run.prompts.ids_PC[:2])
    np.testing.assert_array_equal(first_two, run.sampled("original-greedy")[:2])


def test_only_equal_decoding_is_taken_from_the_samples(run: FinishedRun) -> None:
    assert run.condition_of("original", sampling_config()) == "original-top-p"
    assert run.condition_of("original", sampling_config(top_k=49)) is None
    assert run.condition_of("hyperfitted", repetition_penalty_config()) is None
    taken = run.continuations("original", repetition_penalty_config())
    np.testing.assert_array_equal(taken, run.sampled("original-repetition-penalty"))
    made = run.continuations("hyperfitted", min_p_config())
    again = run.generate(run.hyperfitted, min_p_config())
    np.testing.assert_array_equal(made, again)


def test_a_condition_that_an_older_run_lacks_is_generated(folder: Path, tmp_path: Path) -> None:
    method = sampling_config(top_p=0.9, temperature=1.0, top_k=0)
    new = FinishedRun.open(folder)
    assert new.condition_of("original", method) == "original-top-p-t1"
    older = copied(folder, tmp_path)
    metrics = json.loads((older / "metrics.json").read_text(encoding="utf-8"))
    del metrics["conditions"]["original-top-p-t1"], metrics["methods"]
    (older / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    rows = (older / "samples.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(row for row in rows if json.loads(row)["condition"] != "original-top-p-t1")
    (older / "samples.jsonl").write_text(kept, encoding="utf-8")
    old = FinishedRun.open(older)
    assert old.condition_of("original", method) is None
    made = old.continuations("original", method)
    np.testing.assert_array_equal(made, new.sampled("original-top-p-t1"))


def test_scores_are_those_of_the_run(run: FinishedRun) -> None:
    texts = run.sampled("hyperfitted-greedy")
    assert run.score("x", texts, judge=True) == run.measured("hyperfitted-greedy")


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("c*ts")))


def test_a_condition_without_samples_is_reported(
    run: FinishedRun, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="12 samples of 'beam'"):
        run.sampled("beam")


def test_data_that_changed_are_reported(folder: Path, tmp_path: Path) -> None:
    changed = copied(folder, tmp_path)
    samples = (changed / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in samples]
    for row in rows:
        row["prompt"] += "?" if row["prompt_set"] == "news" and row["prompt_index"] == 2 else ""
    text_of_rows = "".join(json.dumps(row) + "\n" for row in rows)
    (changed / "samples.jsonl").write_text(text_of_rows, encoding="utf-8")
    with pytest.raises(UserError, match="others in the set 'news'"):
        FinishedRun.open(changed)


def test_no_run_and_an_unknown_domain_are_reported(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="finished run"):
        FinishedRun.open(tmp_path / "none")
    other = copied(folder, tmp_path)
    metrics = json.loads((other / "metrics.json").read_text(encoding="utf-8"))
    (other / "metrics.json").write_text(json.dumps(metrics | {"domain": "sound"}), encoding="utf-8")
    with pytest.raises(UserError, match="a domain among text, image"):
        FinishedRun.open(other)
    (other / "metrics.json").unlink()
    with pytest.raises(UserError, match="no metrics.json"):
        FinishedRun.open(other)
