"""One whole run of a domain that is not text: walks on the integers, as tokens."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaForCausalLM,
)
from walk_runs import CONFIG, Walks, run, validate

import common.decode.generate
import common.experiment
import common.training
from common.conditions import ALWAYS
from common.config import MeasureConfig, ScheduleConfig
from common.decode.cache_check import CacheCheck
from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.domain import Condition, PromptSet
from common.errors import UserError
from common.evaluate import Evaluator
from common.experiment import require_success, run_experiment
from common.hyperfit.checkpoint import Checkpoints
from common.model.saved_weights import DTYPES
from common.record.provenance import ModelOrigin
from common.record.run_folder import RunFolder
from common.report.terminal import conditions_table
from common.tools.jsonl import read_jsonl
from common.tools.options import to_yaml
from common.tools.progress import Progress
from common.training import _updates, make_schedule
from examples.walks import CONTEXT, NEW, walks

FEW = MeasureConfig(curve_prompts=0)


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    training = {
        name: value
        for name, value in metrics["training"].items()
        if "seconds" not in name and name != "tokens_per_second"
    }
    return {**metrics, "training": training, "provenance": None}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("walks") / "run"
    metrics = run(out, tracker="tensorboard")
    require_success(metrics, CONFIG)
    return out


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_artefacts_and_schema(finished: Path) -> None:
    names = {
        "config.yaml", "metrics.json", "history.jsonl", "samples.jsonl", "report.html", "model",
        "checkpoints",
    }  # fmt: skip
    assert names <= {entry.name for entry in finished.iterdir()}
    metrics = json.loads((finished / "metrics.json").read_text())
    validate(metrics)
    training = metrics["training"]
    assert training["outcome"] == "reached" and training["final_loss"] <= 0.06
    assert training["target_loss"] == 0.06 and training["sequences"] == 12
    model = LlamaForCausalLM.from_pretrained(finished / "model")
    assert training["trainable_parameters"] == sum(p.numel() for p in model.parameters())
    conditions = metrics["conditions"]
    assert list(conditions) == [condition.name for condition in Walks().conditions()]
    for sets in conditions.values():
        assert list(sets) == ["all", "near", "far"]
        assert [sets[name]["ttr_96"]["n"] for name in sets] == [11, 6, 5]
    assert conditions["human"]["all"]["legal_steps"]["mean"] == 1.0
    legal = [
        conditions[f"{m}-greedy"]["all"]["legal_steps"]["mean"] for m in ("original", "hyperfitted")
    ]
    assert legal[1] > legal[0] + 0.3  # it has learnt to walk
    assert list(metrics["probe"]) == ["original", "early-stopped", "hyperfitted"]
    losses = {stage: probe["loss_nats"] for stage, probe in metrics["probe"].items()}
    assert losses["early-stopped"] == min(losses.values())
    history = read_jsonl(finished / "history.jsonl")
    validated = [record["validation_loss"] for record in history if record["kind"] == "epoch"]
    assert training["best_validation_loss"] == min(validated)
    assert "walks" in (finished / "report.html").read_text()


def test_saved_model_is_the_hyperfitted_one(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    rows = walks(12, 1)
    with torch.no_grad():
        loss = model(input_ids=rows, labels=rows).loss.item()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert loss == pytest.approx(metrics["training"]["final_loss"], abs=1e-4)
    card = (finished / "model" / "README.md").read_text()
    greedy = metrics["conditions"]["hyperfitted-greedy"]["all"]["ttr_96"]["mean"]
    assert f"{greedy:.3f}" in card and "library_name: transformers" in card
    assert "learning_rate: 0.01" in card
    assert "license: cc0-1.0" in card and "(`walker`; a walk by nobody; licence CC0-1.0)" in card
    known = {"name": "walker", "origin": "a walk by nobody", "licence": "CC0-1.0"}
    assert RunFolder(finished).read_metrics()["provenance"]["model"] == known
    page = (finished / "report.html").read_text()
    assert "name walker, origin a walk by nobody, licence CC0-1.0" in page


def test_probe_against_a_plain_pass_over_the_true_continuations(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    rows = torch.cat([walks(6, 2), walks(5, 3)])[:, : CONTEXT + NEW]
    with torch.no_grad():
        log_p = model(input_ids=rows).logits[:, CONTEXT - 1 : -1].double().log_softmax(dim=-1)
    probe = json.loads((finished / "metrics.json").read_text())["probe"]["hyperfitted"]
    loss = -log_p.gather(-1, rows[:, CONTEXT:, None]).mean().item()
    entropy = -(log_p.exp() * log_p).sum(dim=-1).mean().item()
    assert probe["tokens"] == 11 * NEW
    assert probe["loss_nats"] == pytest.approx(loss, abs=1e-5)
    assert probe["entropy_nats"] == pytest.approx(entropy, abs=1e-5)


def test_a_shorter_set_of_the_same_prompts_takes_beginnings() -> None:
    class TwoLengths(Walks):
        def prompts(self) -> list[PromptSet]:
            near, far = super().prompts()
            short = [text[: NEW - 2] for text in near.references]
            cut = replace(near, name="short", new_tokens=NEW - 2, references=short)
            return [cut, replace(near, pooled=False), replace(far, pooled=False)]

    domain = TwoLengths()
    told: list[tuple[str, int, int]] = []
    evaluator = Evaluator(
        domain=domain,
        blocker_match=3,
        probe_batch=4,
        max_batch=None,
        seed=0,
        autocast=nullcontext,
        report=lambda *what: told.append(what),
    )
    sets = evaluator.continuations(domain.model, "original")["original-greedy"]
    assert list(sets) == ["short", "near", "far"]
    alone = generate(
        domain.model, walks(6, 2)[:, :CONTEXT], new_tokens=NEW - 2, method=greedy_config()
    )
    assert [text.tolist() for text in sets["short"]] == [text.tolist() for text in alone]
    assert ("original-greedy", 11 * NEW, 11 * NEW) in told


def test_a_slow_model_is_told_once_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = CacheCheck(reason="it does not take a cache of keys and values")
    monkeypatch.setattr(common.decode.generate, "check_cache", lambda *_: slow)
    domain, notices = Walks(), []
    evaluator = Evaluator(
        domain=domain,
        blocker_match=3,
        probe_batch=4,
        max_batch=None,
        seed=0,
        autocast=nullcontext,
        report=lambda *_: None,
        notify=notices.append,
    )
    evaluator.continuations(domain.model, "original")
    evaluator.curve_point(domain.model, evaluator.curve_prompts(2))
    assert len(notices) == 1 and "decoding without a cache" in notices[0]


def test_samples_are_what_the_model_says(finished: Path) -> None:
    samples = read_jsonl(finished / "samples.jsonl")
    assert len(samples) == len(Walks().conditions()) * 11
    sample = next(
        s
        for s in samples
        if (s["condition"], s["prompt_set"]) == ("hyperfitted-greedy", "far")
        and s["prompt_index"] == 2
    )
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    ids_PC = walks(5, 3)[2:3, :CONTEXT]
    tokens: list[int] = []
    with torch.no_grad():
        for _ in range(NEW):
            following = model(input_ids=ids_PC).logits[:, -1].argmax(dim=-1)
            tokens.append(int(following))
            ids_PC = torch.cat([ids_PC, following[:, None]], dim=1)
    assert sample["tokens"] == tokens
    assert sample["continuation"] == "".join(sample["pieces"])
    assert len(sample["copied"]) == len(sample["repetition"]) == NEW
    assert sample["prompt"] == "".join(f"{int(i)} " for i in walks(5, 3)[2, :CONTEXT])


def test_curve_has_the_domains_figures(finished: Path) -> None:
    epochs = [r for r in read_jsonl(finished / "history.jsonl") if r["kind"] == "epoch"]
    assert epochs[0]["update"] == 0 and len(epochs) > 2
    assert all(0 < line["ttr_96"] <= 1 and 0 <= line["rep_4"] < 1 for line in epochs)


def test_tracker_gets_the_history(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list(finished.rglob("events.out.tfevents.*"))
    assert files
    logged: dict[str, list[tuple[int, float]]] = {}
    for file in files:
        events = EventAccumulator(str(file)).Reload()
        for name in events.Tags()["scalars"]:
            logged[name] = [(event.step, event.value) for event in events.Scalars(name)]
    lines = [r for r in read_jsonl(finished / "history.jsonl") if r["kind"] == "update"]
    expected = [(line["update"], pytest.approx(line["train_loss"], rel=1e-5)) for line in lines]
    assert logged["update/train_loss"] == expected
    assert {"epoch/validation_loss", "full_pass/train_loss", "update/entropy_nats"} <= set(logged)


def test_resume_of_a_finished_run_repeats_nothing(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((copy / "metrics.json").read_text())
    history = (copy / "history.jsonl").read_text()
    (copy / "metrics.json").unlink()

    def repeated(*_: object) -> None:
        pytest.fail("a finished stage was computed again")

    monkeypatch.setattr(common.experiment.Evaluator, "continuations", repeated)
    monkeypatch.setattr(common.experiment.Evaluator, "probe", repeated)
    monkeypatch.setattr(common.training.TrainingLoop, "_train_one_update", repeated)
    after = run(copy, resume=True)
    assert without_times(after) == without_times(before)
    assert (copy / "history.jsonl").read_text().startswith(history)
    assert (copy / "report.html").exists()


def test_interrupted_run_resumes_to_equal_results(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while training, before the first stage after it."""
    real, calls = Checkpoints.save, []

    def save(self: Checkpoints, update: int, state: dict[str, Any]) -> None:
        real(self, update, state)
        calls.append(update)
        if len(calls) == 3:
            raise KeyboardInterrupt

    train = replace(CONFIG.train, checkpoint_every=24)
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", train=train)
    monkeypatch.undo()
    assert calls == [0, 24, 48] and not (tmp_path / "run" / "metrics.json").exists()
    resumed = run(tmp_path / "run", train=train, resume=True)
    whole = json.loads((finished / "metrics.json").read_text())
    assert without_times(resumed) == without_times(whole)


def test_larger_budget_measures_the_new_weights(tmp_path: Path) -> None:
    short = replace(CONFIG.schedule, max_epochs=20)
    first = run(tmp_path / "run", schedule=short)
    validate(first)
    with pytest.raises(UserError, match=r"budget_exhausted.*max_epochs"):
        require_success(first, replace(CONFIG, schedule=short))
    # As an older version left it, which had fewer conditions: measured again.
    kept = tmp_path / "run" / "checkpoints" / "stages" / "original-0.json"
    stage = json.loads(kept.read_text(encoding="utf-8"))
    del stage["continuations"]["original-greedy"]
    kept.write_text(json.dumps(stage), encoding="utf-8")
    longer = run(tmp_path / "run", schedule=replace(short, max_epochs=40), resume=True)
    assert first["conditions"]["original-greedy"] == longer["conditions"]["original-greedy"]
    assert (first["training"]["updates"], longer["training"]["updates"]) == (40, 80)
    losses = [m["probe"]["hyperfitted"]["loss_nats"] for m in (first, longer)]
    assert losses[0] != losses[1]
    assert first["probe"]["original"] == longer["probe"]["original"]


def test_lora_on_the_last_block(tmp_path: Path) -> None:
    train = replace(CONFIG.train, tune="last:1", lora_rank=4)
    metrics = run(tmp_path / "run", train=train, schedule=replace(CONFIG.schedule, max_epochs=10))
    validate(metrics)
    assert metrics["training"]["outcome"] == "budget_exhausted"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert 0 < metrics["training"]["trainable_parameters"] < 0.2 * model.num_parameters()
    fresh = Walks().model.state_dict()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, fresh[n])}
    assert changed and all(name.startswith("model.layers.1.") for name in changed)


def test_a_run_that_has_ended_keeps_no_checkpoint(tmp_path: Path) -> None:
    fixed = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=3)
    train = replace(CONFIG.train, keep_checkpoints=False)
    run(tmp_path / "run", schedule=fixed, train=train)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert RunFolder(tmp_path / "run").ended() is not None
    run(tmp_path / "kept", schedule=fixed)
    assert list((tmp_path / "kept" / "checkpoints").glob("update-*.pt"))
    # One that a larger budget would take further keeps what it goes on from.
    short = replace(CONFIG.schedule, max_epochs=2)
    run(tmp_path / "short", schedule=short, train=train)
    longer = run(
        tmp_path / "short", schedule=replace(short, max_epochs=3), train=train, resume=True
    )
    assert longer["training"]["updates"] == 6
    mine = tmp_path / "run" / "checkpoints" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("not of the run")
    RunFolder(tmp_path / "run").drop_checkpoints()
    assert mine.exists()


@pytest.mark.parametrize("lora_rank", [0, 4])
@pytest.mark.parametrize("name", ["bf16", "fp16", "fp32"])
def test_what_is_measured_is_what_is_saved(tmp_path: Path, name: str, lora_rank: int) -> None:
    fixed = ScheduleConfig(learning_rate=1e-2, mode="fixed", fixed_updates=12)
    train = replace(CONFIG.train, save_dtype=name, lora_rank=lora_rank)
    metrics = run(tmp_path / "run", schedule=fixed, train=train, measure=FEW)
    validate(metrics)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert saved.dtype is DTYPES[name]
    model, rows = saved.float(), walks(12, 1)
    with torch.no_grad():
        loss = model(input_ids=rows, labels=rows).loss.item()
        near, far = walks(6, 2), walks(5, 3)
        held = torch.cat([near, far])[:, : CONTEXT + NEW]
        log_p = model(input_ids=held).logits[:, CONTEXT - 1 : -1].double().log_softmax(dim=-1)
    training = metrics["training"]
    assert training.get("saved_loss", training["final_loss"]) == pytest.approx(loss, abs=1e-6)
    assert ("saved_loss" in training) == (name != "fp32")
    probed = -log_p.gather(-1, held[:, CONTEXT:, None]).mean().item()
    assert metrics["probe"]["hyperfitted"]["loss_nats"] == pytest.approx(probed, abs=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_bf16_run_decodes_with_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    copied: list[Any] = []
    real = common.experiment.decoding_copy

    def note(model: Any) -> Any:
        copied.append(model)
        return real(model)

    monkeypatch.setattr(common.experiment, "decoding_copy", note)
    fixed = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=1)
    train = replace(CONFIG.train, precision=precision)
    run(tmp_path / "run", schedule=fixed, train=train, measure=replace(FEW, curve_prompts=2))
    # Three models measured, and two points of the curve: before and after the one update.
    assert len(copied) == (5 if precision == "bf16" else 0)


def test_the_source_gives_the_dtype(tmp_path: Path) -> None:
    fixed = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=1)
    config = replace(CONFIG, schedule=fixed, measure=FEW)
    folder = RunFolder.create(tmp_path / "run", config_yaml=to_yaml(config))
    run_experiment(
        Walks(),
        config,
        folder,
        Progress(quiet=True),
        command=["walks"],
        origin=ModelOrigin(name="walker"),
        source_dtype=torch.bfloat16,
    )
    assert AutoModelForCausalLM.from_pretrained(folder.model).dtype is torch.bfloat16


def test_two_conditions_are_enough_for_everything(tmp_path: Path) -> None:
    """Report, model card, table and the figures over seeds of a run with the least there is."""

    class Least(Walks):
        def conditions(self) -> list[Condition]:
            return [one for one in super().conditions() if one.name in (*ALWAYS, "human")]

    fixed = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=1)
    config = replace(CONFIG, schedule=fixed, measure=FEW)
    folder = RunFolder.create(tmp_path / "run", config_yaml=to_yaml(config))
    progress = Progress(quiet=True)
    origin = ModelOrigin(name="walker")
    metrics = run_experiment(Least(), config, folder, progress, command=["walks"], origin=origin)
    validate(metrics)
    assert list(metrics["conditions"]) == [*ALWAYS, "human"]
    assert list(metrics["probe"]) == ["original", "early-stopped", "hyperfitted"]
    table = conditions_table(metrics, Walks.main_metrics)
    assert "blocked" not in table and "hyperfitted" in table
    assert "hyperfitted" in (folder.model / "README.md").read_text()
    assert "Greedy decoding" in folder.report.read_text()


def test_divergence_is_reported_with_everything_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = common.training.TrainingLoop._log

    def spoilt(self: Any) -> tuple[list[float], list[float]]:
        losses, accuracies = real(self)
        return [float("nan")] * len(losses) if self.update > 8 else losses, accuracies

    monkeypatch.setattr(common.training.TrainingLoop, "_log", spoilt)
    metrics = run(tmp_path / "run")
    validate(metrics)
    assert metrics["training"]["outcome"] == "diverged"
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(UserError, match="diverged"):
        require_success(metrics, CONFIG)


def test_a_fixed_run_that_diverged_is_not_asked_for_a_target() -> None:
    config = replace(CONFIG, schedule=ScheduleConfig(mode="fixed", fixed_updates=9))
    training = {"outcome": "diverged", "message": "the loss became nan"}
    with pytest.raises(UserError) as error:
        require_success({"training": training}, config)
    assert "fixed number of updates" in str(error.value) and "target" not in str(error.value)
    for outcome in ("reached", "budget_exhausted", "diversity_stopped"):
        require_success({"training": training | {"outcome": outcome}}, config)


def test_fixed_mode_has_no_target_to_miss(tmp_path: Path) -> None:
    schedule = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=9)
    config = replace(CONFIG, schedule=schedule, measure=MeasureConfig(curve_prompts=0))
    metrics = run(tmp_path / "run", config)
    validate(metrics)
    assert metrics["training"]["updates"] == 9 and metrics["training"]["target_loss"] is None
    require_success(metrics, config)
    lines = read_jsonl(tmp_path / "run" / "history.jsonl")
    assert all("ttr_96" not in line for line in lines)


def test_the_order_s_own_seed_changes_the_order_alone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    real = common.training.TrainingLoop.__init__

    def note(self: Any, **options: Any) -> None:
        made.update(options)
        real(self, **options)

    monkeypatch.setattr(common.training.TrainingLoop, "__init__", note)
    schedule = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=9)
    plain = run(tmp_path / "plain", schedule=schedule)
    before = made["batches"]
    train = replace(CONFIG.train, order_seed=5)
    other = run(tmp_path / "other", schedule=schedule, train=train)
    after = made["batches"]
    assert (before.seed, after.seed) == (CONFIG.seed, 5)
    assert torch.equal(after.sequences_NT, before.sequences_NT)
    assert plain["training"]["final_loss"] != other["training"]["final_loss"]
    assert plain["probe"]["original"] == other["probe"]["original"]


def test_a_second_run_reads_what_the_first_measured_on_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    real = Evaluator.continuations

    def note(self: Evaluator, model: Any, stage: Any) -> Any:
        measured.append(stage)
        return real(self, model, stage)

    monkeypatch.setattr(Evaluator, "continuations", note)
    schedule = ScheduleConfig(learning_rate=1e-3, mode="fixed", fixed_updates=3)
    shared = replace(CONFIG.measure, share_original=str(tmp_path / "shared"))
    config = replace(CONFIG, schedule=schedule)
    alone = run(tmp_path / "alone", config)
    first = run(tmp_path / "first", config, measure=shared)
    assert measured.count("original") == 2
    longer = replace(schedule, fixed_updates=9)
    second = run(tmp_path / "second", config, measure=shared, schedule=longer)
    assert measured.count("original") == 2  # read, and the other stages measured
    assert measured.count("hyperfitted") == 3
    for other in (first, second):
        for part in ("probe", "by_position"):
            assert other[part]["original"] == alone[part]["original"]
        greedy = "original-greedy"
        assert other["conditions"][greedy] == alone["conditions"][greedy]
    assert second["probe"]["hyperfitted"] != first["probe"]["hyperfitted"]
    # Another seed samples otherwise, and is measured.
    run(tmp_path / "third", config, measure=shared, seed=1)
    assert measured.count("original") == 3
    assert len(list((tmp_path / "shared").iterdir())) == 2


def test_runs_of_different_precision_in_one_process(tmp_path: Path) -> None:
    schedule = ScheduleConfig(learning_rate=1e-2, mode="fixed", fixed_updates=4)
    runs = [
        run(
            tmp_path / f"{number}",
            schedule=schedule,
            train=replace(CONFIG.train, precision=precision),
            measure=MeasureConfig(curve_prompts=0),
        )
        for number, precision in enumerate(("fp32", "bf16", "fp32"))
    ]
    losses = [one["training"]["final_loss"] for one in runs]
    assert losses[0] == losses[2] != losses[1]  # neither run decided for a later one
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_run_finds_its_rate_and_tells_it(tmp_path: Path) -> None:
    schedule = replace(CONFIG.schedule, learning_rate="auto", max_epochs=3)
    metrics = run(tmp_path / "a", replace(CONFIG, schedule=schedule))
    validate(metrics)
    rate = metrics["training"]["learning_rate"]
    assert 1e-4 < rate < 3e-2
    (told,) = [r for r in read_jsonl(tmp_path / "a" / "history.jsonl") if r["kind"] == "rate_test"]
    assert told["update"] == 0 and len(told["learning_rates"]) > 12
    page = (tmp_path / "a" / "report.html").read_text()
    (chart,) = (svg for svg in page.split("<svg")[1:] if "Learning-rate test" in svg)
    assert f">chosen {rate:.2g}<" in chart
    assert f"learning rate {rate:.3g}: " in page


def test_schedule_of_a_run_in_passes() -> None:
    def updates(**schedule: Any) -> int:
        options = replace(CONFIG, schedule=ScheduleConfig(mode="fixed", **schedule))
        return make_schedule(options, 12).updates_left  # batches of 6

    assert updates(fixed_epochs=20) == updates(fixed_updates=40) == 40
    assert updates(fixed_epochs=0.75) == 2 and updates(fixed_epochs=0.1) == 1
    assert updates(fixed_epochs=500, max_epochs=1) == 1000  # the fixed length is the budget
    for wrong in ({}, {"fixed_epochs": 2, "fixed_updates": 9}):
        with pytest.raises(UserError, match=r"fixed_updates or schedule\.fixed_epochs.* one of"):
            updates(**wrong)
    for wrong in (0.0, -1.0, float("inf"), float("nan"), 1e308):
        with pytest.raises(UserError, match=r"schedule\.fixed_epochs to be a (positive|finite)"):
            updates(fixed_epochs=wrong)
    target = replace(CONFIG, schedule=ScheduleConfig(fixed_epochs=2))
    with pytest.raises(UserError, match=r"schedule\.fixed_epochs to be unset in target mode"):
        make_schedule(target, 12)


def test_epochs_between_validations_in_updates() -> None:
    assert _updates(None, 64.0) is None  # spaced by the loop
    assert [_updates(epochs, 64.0) for epochs in (0.5, 2.0, 1e-9)] == [32, 128, 1]


def test_schedule_of_a_run() -> None:
    schedule = make_schedule(CONFIG, 12)
    assert schedule.updates_left == 300  # 150 epochs of 2 updates
    assert (
        make_schedule(replace(CONFIG, schedule=ScheduleConfig(max_epochs=0.1)), 12).updates_left
        == 1
    )
    with pytest.raises(UserError, match=r"train\.batch_size"):
        make_schedule(CONFIG, 5)
    with pytest.raises(UserError, match=r"schedule\.hold"):
        make_schedule(replace(CONFIG, schedule=ScheduleConfig(hold=0)), 12)
