"""The training loop on a tiny random Llama: exactness, resumption, recovery, every option."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.loop import TrainingLoop
from common.hyperfit.loss_to_zero import LossToZero
from common.hyperfit.options import ScheduleOptions
from common.hyperfit.result import TrainResult
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.hyperfit.update import Batches, StepOptions, Updates, loss_and_accuracy
from common.hyperfit.validation import CurvePoint, HeldOut
from common.model.head import attach_head
from common.record.journal import Journal
from common.tools.device import Compute
from common.tools.jsonl import read_jsonl, to_jsonl
from common.tools.modules import copy_weights, load_weights, trainable_parameters

VOCABULARY, LENGTH, TRAIN, BATCH = 24, 12, 10, 4
TIMING = ("tokens_per_second",)
FP32 = Compute(torch.device("cpu"), bf16=False)


def tiny_model(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**(options | changes)))


def sequences(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (count, LENGTH), generator=generator)


def loss_to_zero(*, learning_rate: Any, max_updates: int, **options: Any) -> LossToZero:
    return LossToZero(
        ScheduleOptions(**options),
        learning_rate=learning_rate,
        max_updates=max_updates,
        updates_per_epoch=TRAIN / BATCH,
    )


class Run:
    """A loop with everything around it; the history lies in a file, as in a real run."""

    def __init__(self, folder: Path, *, model: Any = None, **changes: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.model = tiny_model() if model is None else model
        self.path = folder / "history.jsonl"
        schedule: dict[str, Any] = {"pass_every": 3, "learning_rate": 1e-2, "max_updates": 400}
        schedule |= changes.pop("schedule", {})
        step = changes.pop("on_step", None)
        rate = 0.0 if schedule["learning_rate"] == "auto" else schedule["learning_rate"]
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0)
        if step is not None:
            optimizer.register_step_pre_hook(lambda *_: step())
        options: dict[str, Any] = {
            "sequences_NT": sequences(TRAIN, 1),
            "heldout_NT": sequences(4, 2),
            "seed": 7,
            "batch_size": BATCH,
            "micro_batch_size": BATCH,
            "log_every": 4,
            "checkpoint_every": 8,
            "validate_every": 5,
        } | changes

        def group(kind: Any, **renamed: str) -> Any:
            """The options that are fields of a dataclass; `renamed`: its field -> option."""
            names = {entry.name: renamed.get(entry.name, entry.name) for entry in fields(kind)}
            given = {field: name for field, name in names.items() if name in options}
            return kind(**{field: options.pop(name) for field, name in given.items()})

        held_out = group(
            HeldOut,
            sequences_NT="heldout_NT",
            continue_prompts="curve",
            continued_tokens="curve_tokens",
        )
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.loop = TrainingLoop(
            head=attach_head(self.model, sequences(2, 1)),
            batches=group(Batches),
            schedule=loss_to_zero(**schedule),
            optimizer=optimizer,
            compute=FP32,
            session=Session(
                self.checkpoints,
                Journal(write=self.write, forget_after=self.forget_after),
                group(Cadence),
                on_window=options.pop("on_update", None),
            ),
            held_out=held_out,
            step=group(StepOptions),
        )
        assert not options, options

    def write(self, record: dict[str, Any]) -> None:
        clean = {k: None if isinstance(v, float) and v != v else v for k, v in record.items()}
        with self.path.open("a") as file:
            file.write(to_jsonl([clean]))

    def forget_after(self, update: int) -> None:
        kept = [record for record in read_jsonl(self.path) if record["update"] <= update]
        self.path.write_text(to_jsonl(kept))

    def history(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in record.items() if name not in TIMING}
            for record in read_jsonl(self.path)
            if kind in (None, record["kind"])
            and record.get("event") != "resume"
            and (kind == "time" or record["kind"] != "time")
        ]

    def weights(self) -> dict[str, Tensor]:
        return copy_weights(trainable_parameters(self.model))


def assert_equal_weights(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def at_step(number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Something to call at each optimizer step; acts at one of them."""
    steps = iter(range(1, 10**6))
    return lambda: act() if next(steps) == number else None


def spoil_gradients(model: Any) -> None:
    for parameter in model.parameters():
        parameter.grad.fill_(float("nan"))


FIXED = {"mode": "fixed", "fixed_updates": 22}  # two and a half log lines more than checkpoints


def test_reaches_the_target_measured_by_a_plain_pass(tmp_path: Path) -> None:
    run = Run(tmp_path)
    result = run.loop.run()
    assert result.outcome == "reached"
    assert result.final_loss is not None and result.final_loss <= 0.05
    ids_NT = sequences(TRAIN, 1)
    with torch.no_grad():
        logits_NTV = run.model(input_ids=ids_NT).logits
        plain = F.cross_entropy(logits_NTV[:, :-1].flatten(0, 1), ids_NT[:, 1:].flatten()).item()
    assert result.final_loss == pytest.approx(plain, abs=1e-5)
    assert result.updates == run.history("update")[-1]["update"]
    assert result.epochs == pytest.approx(result.updates * BATCH / TRAIN)
    assert [r["event"] for r in run.history("event")][-1] == "done"
    passes = [r["train_loss"] for r in run.history("full_pass")]
    assert passes[-1] == result.final_loss and max(passes[-2:]) <= 0.05  # held for two


def test_mean_loss_is_over_tokens_whatever_the_batch(tmp_path: Path) -> None:
    run = Run(tmp_path)
    measured = [
        loss_and_accuracy(run.loop.updates.head, sequences(TRAIN, 1), size, FP32)
        for size in (1, 3, TRAIN)
    ]
    assert [loss for loss, _ in measured] == pytest.approx([measured[0][0]] * 3, rel=1e-6)
    assert {accuracy for _, accuracy in measured} == {naive_accuracy(run.model)}
    with_prompt = loss_and_accuracy(
        run.loop.updates.head, sequences(TRAIN, 1), 3, FP32, first_target=5
    )
    assert with_prompt[1] == naive_accuracy(run.model, first_target=5)


def naive_accuracy(
    model: Any, *, first_target: int = 1, seed: int = 1, count: int = TRAIN
) -> float:
    """Share of the tokens that are the argmax after those before them, token by token."""
    right = []
    for ids_T in sequences(count, seed):
        for position in range(first_target, LENGTH):
            with torch.no_grad():
                logits_V = model(input_ids=ids_T[None, :position], use_cache=False).logits[0, -1]
            right.append(int(logits_V.argmax()) == int(ids_T[position]))
    return sum(right) / len(right)


def test_stops_at_an_accuracy_which_is_logged_everywhere(tmp_path: Path) -> None:
    by_loss, run = Run(tmp_path / "a"), Run(tmp_path / "b", schedule={"target_accuracy": 0.9})
    before = naive_accuracy(run.model), naive_accuracy(run.model, seed=2, count=4)
    result, other = run.loop.run(), by_loss.loop.run()
    assert result.outcome == "reached" and result.updates < other.updates
    assert result.final_loss is not None and result.final_loss > 0.05
    assert result.final_accuracy == naive_accuracy(run.model)
    passes = [r["train_accuracy"] for r in run.history("full_pass")]
    assert passes[-1] == result.final_accuracy and min(passes[-2:]) >= 0.9
    assert run.history("epoch")[0]["validation_accuracy"] == pytest.approx(before[1])
    batches = [r["train_accuracy"] for r in run.history("update")]
    assert batches[0] == pytest.approx(before[0], abs=0.15) and 0.8 < batches[-1] <= 1
    assert other.final_accuracy == naive_accuracy(by_loss.model)  # known without being a target


def test_batch_accuracy_is_that_of_the_batch_before_the_update(tmp_path: Path) -> None:
    run = Run(
        tmp_path,
        schedule=FIXED | {"fixed_updates": 1},
        log_every=1,
        micro_batch_size=1,
        batch_size=TRAIN,
    )
    before = naive_accuracy(run.model)
    run.loop.run()
    (line,) = run.history("update")
    assert line["train_accuracy"] == pytest.approx(before, abs=1e-6)


def test_update_against_a_plain_torch_loop(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule=FIXED | {"fixed_updates": 3}, log_every=1)
    rows = [run.loop.updates.batches.order.rows(update) for update in range(3)]
    reference = tiny_model()
    load_weights(reference, run.weights())
    run.loop.run()
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for batch in rows:
        ids_BT = sequences(TRAIN, 1)[batch]
        loss = reference(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert [r["train_loss"] for r in run.history("update")] == pytest.approx(losses, rel=1e-4)
    for name, value in copy_weights(trainable_parameters(reference)).items():
        torch.testing.assert_close(run.weights()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_accumulation_is_exact_in_tokens(tmp_path: Path, micro_batch: int) -> None:
    gradients = []
    for size in (BATCH, micro_batch):
        model, kept = tiny_model(), []
        folder = tmp_path / str(size)
        folder.mkdir()

        def keep(model: Any = model, kept: list[Any] = kept) -> None:
            kept.append({n: p.grad.clone() for n, p in model.named_parameters()})

        schedule = FIXED | {"fixed_updates": 1}
        run = Run(folder, model=model, micro_batch_size=size, schedule=schedule, on_step=keep)
        run.loop.run()
        gradients.append((kept[0], run.history("update")[0]))
    (whole, whole_line), (parts, parts_line) = gradients
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    for name in ("train_loss", "entropy_nats", "top1_mass", "gradient_norm"):
        assert parts_line[name] == pytest.approx(whole_line[name], rel=1e-4)


def interrupted_and_resumed(folder: Path, on_step: Callable[[], None]) -> tuple[Run, TrainResult]:
    with pytest.raises(KeyboardInterrupt):
        Run(folder, schedule=FIXED, on_step=on_step).loop.run()
    torch.manual_seed(99)  # nothing of the new process may matter
    run = Run(folder, model=tiny_model(initializer_range=0.5), schedule=FIXED)
    return run, run.loop.run(resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_saves_and_resumes_bit_identically(
    tmp_path: Path, number: signal.Signals
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "interrupted"
    whole.mkdir()
    folder.mkdir()
    uninterrupted = Run(whole, schedule=FIXED)
    expected = uninterrupted.loop.run()
    handler = signal.getsignal(number)
    run, result = interrupted_and_resumed(folder, at_step(9, lambda: os.kill(os.getpid(), number)))
    assert signal.getsignal(number) is handler
    resumed = [r for r in read_jsonl(run.path) if r.get("event") == "resume"]
    assert [r["update"] for r in resumed] == [12]  # the log line after the signal
    assert_equal_weights(run.weights(), uninterrupted.weights())
    assert run.history() == uninterrupted.history()
    assert result.final_loss == expected.final_loss
    assert result.best is not None and expected.best is not None
    assert result.best.update == expected.best.update
    assert_equal_weights(result.best.weights, expected.best.weights)


def test_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(tmp_path, on_step=at_step(2, twice))
    with pytest.raises(KeyboardInterrupt):
        run.loop.run()
    assert run.checkpoints.updates() == [0]


def killed_in_the_middle(folder: Path) -> None:
    """What the child process of the next test does: die within update 14, in the second epoch and
    between two log lines."""
    kill = at_step(14, lambda: os.kill(os.getpid(), signal.SIGKILL))
    Run(folder, schedule=FIXED, on_step=kill).loop.run()


def test_sigkill_and_resume_give_the_same_bits(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    folder.mkdir()
    root = Path(__file__).parents[3]
    child = subprocess.run(
        [sys.executable, __file__, str(folder)],
        check=False,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    uninterrupted = Run(whole, schedule=FIXED)
    expected = uninterrupted.loop.run()
    run = Run(folder, model=tiny_model(initializer_range=0.5), schedule=FIXED)
    result = run.loop.run(resume=True)
    assert result.updates == expected.updates == 22
    assert_equal_weights(run.weights(), uninterrupted.weights())
    assert run.history() == uninterrupted.history()
    messages = [r["message"] for r in read_jsonl(run.path) if r.get("event") == "resume"]
    assert messages == ["resumed after update 8"]


def test_damaged_newest_checkpoint_is_told_and_the_one_before_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop = at_step(17, lambda: os.kill(os.getpid(), signal.SIGINT))
        Run(tmp_path, schedule=FIXED, on_step=stop).loop.run()
    newest = sorted((tmp_path / "checkpoints").glob("*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    run = Run(tmp_path, schedule=FIXED)
    assert run.loop.run(resume=True).updates == 22
    messages = [r["message"] for r in read_jsonl(run.path) if r.get("event") == "resume"]
    assert newest.name in messages[0] and messages[1] == "resumed after update 16"


def test_nan_once_is_recovered_from(tmp_path: Path) -> None:
    model = tiny_model()
    run = Run(tmp_path, model=model, on_step=at_step(11, lambda: spoil_gradients(model)))
    result = run.loop.run()
    assert result.outcome == "reached"
    events = run.history("event")
    assert [e["event"] for e in events[:2]] == ["nan", "restore"]
    assert events[0]["update"] == 8 and "at update 12" in events[0]["message"]
    rates = {r["update"]: r["learning_rate"] for r in run.history("update")}
    assert rates[8] == pytest.approx(1e-2) and rates[12] == pytest.approx(5e-3)
    updates = [r["update"] for r in run.history("update")]
    assert updates == sorted(set(updates))  # the abandoned lines are gone


def test_run_killed_after_a_recovery_remembers_it(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "interrupted"
    whole.mkdir()
    folder.mkdir()
    model = tiny_model()
    spoil = at_step(11, lambda: spoil_gradients(model))
    uninterrupted = Run(whole, model=model, schedule=FIXED, on_step=spoil)
    uninterrupted.loop.run()

    other = tiny_model()

    def die() -> None:
        raise RuntimeError("killed")

    # Step 14 is the second update after going back to update 8.
    steps = at_step(11, lambda: spoil_gradients(other)), at_step(14, die)

    def spoil_then_die() -> None:
        for step in steps:
            step()

    with pytest.raises(RuntimeError, match="killed"):
        Run(folder, model=other, schedule=FIXED, on_step=spoil_then_die).loop.run()
    run = Run(folder, schedule=FIXED)
    run.loop.run(resume=True)
    assert_equal_weights(run.weights(), uninterrupted.weights())
    assert run.history() == uninterrupted.history()


@pytest.mark.parametrize("step", [16, 22])
def test_nan_in_the_gradient_before_a_checkpoint_is_noticed(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses up to there are finite, the weights to be saved or returned are not."""
    model, clip = tiny_model(), torch.nn.utils.clip_grad_norm_
    spoil = at_step(step, lambda: spoil_gradients(model))

    def spoil_then_clip(parameters: Any, limit: float) -> Tensor:
        spoil()
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil_then_clip)
    run = Run(tmp_path, model=model, schedule=FIXED)
    result = run.loop.run()
    assert result.updates == 22 and result.final_loss is not None
    assert all(p.isfinite().all() for p in model.parameters())
    assert [e["event"] for e in run.history("event")] == ["nan", "restore", "done"]


def test_nan_for_ever_ends_with_the_last_good_weights(tmp_path: Path) -> None:
    model, steps, good = tiny_model(), iter(range(1, 10**6)), {}

    def spoil() -> None:
        if next(steps) > 9:
            spoil_gradients(model)

    def keep(update: int) -> None:
        if update == 8 and not good:
            good.update(copy_weights(trainable_parameters(model)))

    run = Run(tmp_path, model=model, on_step=spoil, on_update=keep)
    result = run.loop.run()
    assert result.outcome == "diverged" and "after 3 restores" in result.message
    assert result.updates == 8
    assert_equal_weights(run.weights(), good)
    events = [e["event"] for e in run.history("event")]
    assert events == ["nan", "restore"] * 3 + ["nan", "done"]


def test_early_stopped_weights_are_those_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    model, seen = tiny_model(), []

    def validation() -> CurvePoint:
        seen.append(copy_weights(trainable_parameters(model)))
        return CurvePoint(figures={"rep_4": 0.25})

    # Held-out data near the training data, so that the minimum is neither first nor last.
    heldout_NT = sequences(TRAIN, 1)
    heldout_NT[:, ::4] = sequences(TRAIN, 5)[:, ::4]
    run = Run(tmp_path, model=model, heldout_NT=heldout_NT, curve=validation)
    result = run.loop.run()
    lines = run.history("epoch")
    losses = [line["validation_loss"] for line in lines]
    lowest = losses.index(min(losses))
    assert 0 < lowest < len(losses) - 1
    assert result.best is not None and result.best.loss == losses[lowest]
    assert result.best.update == lines[lowest]["update"]
    assert_equal_weights(result.best.weights, seen[lowest])
    assert {line["rep_4"] for line in lines} == {0.25}


@pytest.mark.parametrize("changes", [{"attention_dropout": 0.5}, {}])
def test_dropout_is_refused_in_modules_and_in_attributes(
    tmp_path: Path, changes: dict[str, float]
) -> None:
    model = tiny_model(**changes)
    if not changes:
        model.model.layers[0].mlp.act_fn = torch.nn.Sequential(
            torch.nn.SiLU(), torch.nn.Dropout(0.5)
        )
    run = Run(tmp_path, model=model)
    with pytest.raises(AssertionError, match="dropout is on"):
        run.loop.run()


def test_stall_and_budget_end_without_pretence(tmp_path: Path) -> None:
    schedule = {"learning_rate": 1e-6, "max_updates": 40, "patience": 6, "target_loss": 0.01}
    run = Run(tmp_path, schedule=schedule)
    result = run.loop.run()
    assert result.outcome == "budget_exhausted" and result.updates == 40
    assert result.final_loss is not None and result.final_loss > 1
    assert "stall" in {e["event"] for e in run.history("event")}


def test_diversity_that_stops_growing_ends_the_run(tmp_path: Path) -> None:
    values = iter([0.1, 0.2, 0.4, 0.4, 0.39, 0.38])

    def growing() -> CurvePoint:
        value = next(values)
        return CurvePoint(figures={"ttr_96": value}, diversity=value)

    run = Run(
        tmp_path,
        schedule={"diversity_patience": 3},
        curve=growing,
    )
    result = run.loop.run()
    assert result.outcome == "diversity_stopped"
    assert [line["ttr_96"] for line in run.history("epoch")] == [0.1, 0.2, 0.4, 0.4, 0.39, 0.38]


def test_more_epochs_reopen_an_exhausted_run(tmp_path: Path) -> None:
    first = Run(tmp_path, schedule={"max_updates": 10}).loop.run()
    assert (first.outcome, first.updates) == ("budget_exhausted", 10)
    again = Run(tmp_path, schedule={"max_updates": 10}).loop.run(resume=True)
    assert (again.outcome, again.updates) == ("budget_exhausted", 10)
    more = Run(tmp_path).loop.run(resume=True)
    assert more.outcome == "reached" and more.updates > 10


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="whole checkpoint"):
        Run(tmp_path).loop.run(resume=True)


def first_lines(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    run = Run(folder, schedule=FIXED, **changes)
    run.loop.run()
    return run.history()


def test_every_option_has_an_effect(tmp_path: Path) -> None:
    plain = first_lines(tmp_path / "plain")
    assert first_lines(tmp_path / "again") == plain

    def updates(lines: list[dict[str, Any]], kind: str) -> list[int]:
        return [line["update"] for line in lines if line["kind"] == kind]

    assert updates(plain, "update") == [4, 8, 12, 16, 20, 22]
    assert updates(plain, "epoch") == [0, 8, 12, 16, 20, 22]
    for name, value in {"seed": 8, "batch_size": 5, "max_gradient_norm": 1e-3}.items():
        assert first_lines(tmp_path / name, **{name: value})[1:] != plain[1:], name
    logged = first_lines(tmp_path / "log", log_every=11)
    assert updates(logged, "update") == [11, 22]
    validated = first_lines(tmp_path / "validate", validate_every=12)
    assert updates(validated, "epoch") == [0, 12, 22]
    unprobed = [line for line in first_lines(tmp_path / "stats", stats=False) if "phase" in line]
    assert all("entropy_nats" not in line for line in unprobed)
    assert all("entropy_nats" in line for line in plain if "phase" in line)
    blind = first_lines(tmp_path / "blind", heldout_NT=None)
    assert all("validation_loss" not in line for line in blind)
    unclipped = first_lines(tmp_path / "unclipped", max_gradient_norm=0.0)
    assert unclipped == first_lines(tmp_path / "high", max_gradient_norm=1e9)


def test_checkpoint_every(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule=FIXED, checkpoint_every=100)
    run.loop.run()
    assert run.checkpoints.updates() == [0, 22]


def test_seconds_by_part_cover_the_training(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule=FIXED, curve=lambda: CurvePoint(figures={"rep_4": 0.5}))
    result = run.loop.run()
    parts = result.seconds_by_part
    assert sum(parts.values()) == pytest.approx(result.seconds, abs=0.05)
    timed = ("preparation", "updates", "first_update", "full_passes", "validation", "checkpoints")
    assert all(parts[name] > 0 for name in timed) and parts["curve"] >= 0
    (line,) = run.history("time")
    assert line["update"] == 22 and parts.items() >= {"updates": line["updates"]}.items()


def test_seconds_of_a_resumed_run_hold_the_earlier_ones(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Run(
            tmp_path,
            schedule=FIXED,
            on_step=at_step(9, lambda: os.kill(os.getpid(), signal.SIGINT)),
        ).loop.run()
    run = Run(tmp_path, schedule=FIXED)
    saved, _ = run.checkpoints.load_newest()
    result = run.loop.run(resume=True)
    for part, seconds in saved["seconds_by_part"].items():
        assert result.seconds_by_part[part] >= round(seconds, 3), part
    assert saved["seconds_by_part"]["updates"] > 0


def test_points_without_options_are_spaced_by_their_cost(tmp_path: Path) -> None:
    """Few and widening where they cost much, and the same in a run that was interrupted."""
    automatic: dict[str, Any] = {"validate_every": None, "checkpoint_every": None, "log_every": 1}
    automatic |= {"curve_tokens": 10, "curve": lambda: CurvePoint(figures={"rep_4": 0.5})}
    whole, folder = tmp_path / "whole", tmp_path / "interrupted"
    whole.mkdir()
    folder.mkdir()
    run = Run(whole, schedule=FIXED, **automatic)
    run.loop.run()
    lines = run.history("epoch")
    # 22 updates of 48 tokens are worth 32 at 3 %: a pass over 48 held-out ones costs 16, a point of
    # the curve 20, which leaves the least that there may be between both ends.
    assert [line["update"] for line in lines] == [0, 3, 6, 10, 22]
    assert [line["update"] for line in lines if "rep_4" in line] == [0, 6, 22]
    assert run.checkpoints.updates() == [0, 22]  # 2,000 tokens each: one in 2,778 updates
    with pytest.raises(KeyboardInterrupt):
        Run(
            folder,
            schedule=FIXED,
            on_step=at_step(5, lambda: os.kill(os.getpid(), signal.SIGINT)),
            **automatic,
        ).loop.run()
    resumed = Run(folder, schedule=FIXED, **automatic)
    resumed.loop.run(resume=True)
    assert resumed.history() == run.history()
    assert_equal_weights(resumed.weights(), run.weights())


def test_the_initial_weights_are_written_once(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule=FIXED | {"fixed_updates": 1})
    run.loop.run()
    weights = sum(p.numel() * 4 for p in run.model.parameters())
    first = run.checkpoints.folder / "update-00000000.pt"
    assert weights < first.stat().st_size < 1.5 * weights
    state = torch.load(first, weights_only=True)
    assert_equal_weights(state["weights"], copy_weights(trainable_parameters(tiny_model())))
    assert_equal_weights(state["weights"], state["best"]["weights"])


def test_checkpointed_activations_give_the_same_run_and_resume(tmp_path: Path) -> None:
    def whole(name: str, **options: Any) -> tuple[Run, int]:
        run, passes = Run(tmp_path / name, schedule=FIXED, **options), []
        run.model.model.layers[-1].self_attn.register_forward_hook(lambda *_: passes.append(1))
        run.loop.run()
        return run, len(passes)

    (plain, once), (_, twice) = whole("kept"), whole("checkpointed", checkpoint_activations=True)
    assert twice == once + 22  # one more in each update, none in evaluation
    with pytest.raises(KeyboardInterrupt):
        Run(
            tmp_path / "interrupted",
            schedule=FIXED,
            checkpoint_activations=True,
            on_step=at_step(9, lambda: os.kill(os.getpid(), signal.SIGINT)),
        ).loop.run()
    resumed = Run(tmp_path / "interrupted", schedule=FIXED, checkpoint_activations=True)
    resumed.loop.run(resume=True)
    assert resumed.history() == plain.history()
    assert_equal_weights(resumed.weights(), plain.weights())


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_several_processes_are_refused(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    Run(tmp_path)
    monkeypatch.setenv(variable, "2")
    with pytest.raises(UserError, match="one process; got 2"):
        Run(tmp_path)


if __name__ == "__main__":
    killed_in_the_middle(Path(sys.argv[1]))


# The learning-rate test.

AUTO = {"learning_rate": "auto", "max_updates": 24, "target_loss": 0.01}


def auto_run(folder: Path, **changes: Any) -> Run:
    return Run(folder, schedule=AUTO, **changes)


def test_a_rate_test_leaves_weights_optimizer_and_random_numbers_as_they_were(
    tmp_path: Path,
) -> None:
    run = auto_run(tmp_path / "auto")
    torch.manual_seed(5)
    before, random = run.weights(), torch.get_rng_state()
    run.loop.model.train()
    run.loop._prepare()
    run.loop._find_rate()
    assert_equal_weights(run.weights(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert run.loop.updates.optimizer.state_dict()["state"] == {}
    (tested,) = run.history("rate_test")
    assert len(tested["learning_rates"]) == len(tested["changes_nats"]) > 12
    assert tested["changes_nats"][0] == pytest.approx(0.0, abs=1e-6)

    # So training goes on as with that rate given, bit for bit.
    rate = run.loop.schedule.rate_in(0)
    found, given = (
        auto_run(tmp_path / "found"),
        Run(tmp_path / "given", schedule=AUTO | {"learning_rate": rate}),
    )
    found.loop.run()
    given.loop.run()
    assert_equal_weights(found.weights(), given.weights())
    assert found.history("update") == given.history("update")
    assert next(r["event"] for r in found.history("event")) == "rate_test"


def test_a_resumed_run_does_not_repeat_the_rate_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(update: int) -> None:
        if update == 12:
            raise KeyboardInterrupt

    whole = auto_run(tmp_path / "whole")
    killed = auto_run(tmp_path / "killed", on_update=kill)
    whole.loop.run()
    with pytest.raises(KeyboardInterrupt):
        killed.loop.run()
    again = auto_run(tmp_path / "killed")
    monkeypatch.setattr(TrainingLoop, "_find_rate", lambda _: pytest.fail("repeated"))
    again.loop.run(resume=True)
    assert_equal_weights(again.weights(), whole.weights())
    assert again.history() == whole.history()


def test_a_run_killed_in_the_rate_test_begins_it_again_and_ends_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = auto_run(tmp_path / "whole"), auto_run(tmp_path / "killed")
    whole.loop.run()
    real, steps = Updates.make, iter(range(100))

    def die(self: Updates, *arguments: Any, **named: Any) -> Any:
        if next(steps) == 11:
            raise KeyboardInterrupt
        return real(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Updates, "make", die)
        with pytest.raises(KeyboardInterrupt):
            killed.loop.run()
    assert not killed.checkpoints.updates()
    again = auto_run(tmp_path / "killed")
    again.loop.run()
    assert_equal_weights(again.weights(), whole.weights())
    assert again.history() == whole.history()
