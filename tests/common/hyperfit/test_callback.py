"""The callback in a real `transformers.Trainer` on a tiny random model."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

import common.hyperfit.callback
from common.config import ScheduleConfig
from common.errors import UserError
from common.hyperfit.callback import LossToZeroCallback
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.loader_pass import loss_and_accuracy, of_first_process
from common.hyperfit.loop import TrainingLoop
from common.hyperfit.loss_to_zero import LossToZero
from common.hyperfit.options import ScheduleOptions
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.hyperfit.update import Batches
from common.model.head import attach_head
from common.record.journal import Journal
from common.tools.device import Compute

SEQUENCES, LENGTH, VOCABULARY = 6, 8, 16


class Rows(torch.utils.data.Dataset):
    """Sequences of unequal label counts: the last `index` labels of a row are ignored.

    The first tokens differ: two sequences with a common prefix keep zero loss out of reach.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.ids_NT = torch.randint(0, VOCABULARY, (SEQUENCES, LENGTH), generator=generator)
        self.ids_NT[:, 0] = torch.arange(SEQUENCES)

    def __len__(self) -> int:
        return SEQUENCES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        labels_T = self.ids_NT[index].clone()
        labels_T[LENGTH - index :] = -100
        return {"input_ids": self.ids_NT[index], "labels": labels_T}


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            attention_dropout=0.2,
        )
    )


def tiny_gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=16,
            n_embd=32,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def trainer_of(model: Any, folder: Path, *callbacks: TrainerCallback, **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "learning_rate": 5e-3,
        "max_steps": 400,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 1,
        **options,
    }
    return Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=Rows(),
        callbacks=list(callbacks),
    )


def naive_loss(model: Any) -> float:
    """Mean over all counted labels of the training set, one sequence and one position at a time."""
    model.eval()
    nats = []
    for row in Rows():
        with torch.no_grad():
            logits_TV = model(input_ids=row["input_ids"][None]).logits[0]
        for position in range(1, LENGTH):
            if row["labels"][position] != -100:
                probabilities_V = torch.softmax(logits_TV[position - 1].double(), dim=0)
                nats.append(-math.log(probabilities_V[row["labels"][position]].item()))
    return sum(nats) / len(nats)


def naive_accuracy(model: Any) -> float:
    """Share of counted labels that are the argmax, one position at a time."""
    model.eval()
    right = []
    for row in Rows():
        with torch.no_grad():
            logits_TV = model(input_ids=row["input_ids"][None]).logits[0]
        for position in range(1, LENGTH):
            if row["labels"][position] != -100:
                choice = max(range(VOCABULARY), key=lambda token: logits_TV[position - 1, token])
                right.append(choice == int(row["labels"][position]))
    return sum(right) / len(right)


class Poison(TrainerCallback):
    """Writes NaN into the weights after the given steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 in self.steps:
            next(kwargs["model"].parameters()).data.fill_(math.nan)


class Rates(TrainerCallback):
    """Records the rate of every optimizer step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rates.append(kwargs["optimizer"].param_groups[0]["lr"])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    logging.getLogger("common.hyperfit.callback").setLevel(logging.NOTSET)


@pytest.mark.parametrize("model_of", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_reaches_the_target_and_stops_early(
    model_of: Any, accumulation: int, tmp_path: Path
) -> None:
    model, callback, rates = model_of(), LossToZeroCallback(target_loss=0.05, pass_every=5), Rates()
    trainer = trainer_of(model, tmp_path, callback, rates, gradient_accumulation_steps=accumulation)
    trainer.train()
    assert callback.scheduler.outcome == "reached"
    assert trainer.state.global_step == callback.scheduler.update < 400
    assert naive_loss(model) <= 0.05
    assert callback.scheduler.final_loss == pytest.approx(naive_loss(model), rel=1e-4)
    # The default lr_scheduler_type falls linearly; the schedule's own rate was used and logged.
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert rates.rates[:20] == [5e-3] * 20
    assert rates.rates[-1] < 5e-3
    assert logged[-1]["learning_rate"] == rates.rates[int(logged[-1]["step"]) - 1]
    # With gradient accumulation the first logged loss is still a mean per token, near log V.
    assert 0.6 < logged[0]["loss"] / math.log(VOCABULARY) < 1.1


def test_full_pass_weights_tokens_and_leaves_training_alone() -> None:
    model, rows = tiny_gpt2(), Rows()
    model.train()
    loader = DataLoader(rows, batch_size=2, shuffle=True)
    before = torch.get_rng_state()
    measured = [
        loss_and_accuracy(model, loader, batch_size=size, device=torch.device("cpu"))
        for size in (1, 4, 6)
    ]
    losses = [loss for loss, _ in measured]
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert {accuracy for _, accuracy in measured} == {naive_accuracy(model)}
    for loss in losses:
        assert loss == pytest.approx(naive_loss(model), rel=1e-5)
    uneven = [
        loss_and_accuracy(model, DataLoader([row]), batch_size=1, device=model.device)[0]  # type: ignore[arg-type]
        for row in rows
    ]
    assert sum(uneven) / len(uneven) != pytest.approx(losses[0], rel=1e-5)


def test_accuracy_with_labels_that_are_shifted_already() -> None:
    """As TRL gives them for sequence parallelism: position t has the label of token t + 1."""
    model, plain = tiny_gpt2(), [Rows()[row] for row in range(len(Rows()))]
    shifted = []
    for row in plain:
        labels = torch.full_like(row["labels"], -100)
        labels[:-1] = row["labels"][1:]
        shifted.append({**row, "shift_labels": labels})
    found = [
        loss_and_accuracy(model, DataLoader(rows), batch_size=3, device=model.device)[1]  # type: ignore[arg-type]
        for rows in (plain, shifted)
    ]
    assert found == [naive_accuracy(model)] * 2


def test_stops_at_an_accuracy(tmp_path: Path) -> None:
    model, callback = tiny_llama(), LossToZeroCallback(target_accuracy=0.8, pass_every=5)
    trainer_of(model, tmp_path, callback).train()
    scheduler = callback.scheduler
    assert scheduler.outcome == "reached" and "accuracy" in scheduler.message
    assert scheduler.final_accuracy == naive_accuracy(model) >= 0.8
    assert naive_loss(model) > 0.05  # sooner than at the target loss


def test_a_model_without_logits_has_no_accuracy() -> None:
    class LossOnly(nn.Module):
        def forward(self, **batch: Any) -> Any:
            return SimpleNamespace(loss=torch.tensor(2.0))

    device = torch.device("cpu")
    measured = loss_and_accuracy(LossOnly(), DataLoader(Rows()), batch_size=3, device=device)
    assert measured == (2.0, None)


def test_full_passes_do_not_change_the_course_of_training(tmp_path: Path) -> None:
    plain, passing = tiny_llama(), tiny_llama()
    for model, pass_every in ((plain, 400), (passing, 1)):
        callback = LossToZeroCallback(
            target_loss=1e-6, pass_margin=1e9, knee=1e-5, pass_every=pass_every
        )
        trainer_of(model, tmp_path, callback, max_steps=20).train()
        assert callback.scheduler.outcome == "budget_exhausted"
    for one, other in zip(plain.parameters(), passing.parameters(), strict=True):
        assert torch.equal(one, other)


def test_nan_weights_are_restored_and_training_goes_on(tmp_path: Path) -> None:
    callback = LossToZeroCallback(
        target_loss=0.05, knee=None, min_rate_factor=0.5, snapshot_every=10
    )
    model, rates = tiny_llama(), Rates()
    # Without the filter the Trainer's sum of losses would stay NaN after the first one.
    trainer_of(
        model, tmp_path, Poison(17, 33), callback, rates, logging_nan_inf_filter=False
    ).train()
    assert callback.scheduler.outcome == "reached"
    assert callback.scheduler.recoveries == 2
    assert naive_loss(model) <= 0.05
    assert rates.rates[0] == 5e-3 and rates.rates[21] == 2.5e-3
    assert max(rates.rates[40:]) <= 1.25e-3


def test_nan_in_the_last_updates_leaves_good_weights(tmp_path: Path) -> None:
    model, callback = tiny_llama(), LossToZeroCallback(snapshot_every=5)
    trainer_of(model, tmp_path, Poison(18), callback, max_steps=20).train()
    assert (callback.scheduler.outcome, callback.scheduler.recoveries) == ("budget_exhausted", 1)
    assert callback.scheduler.update == 15
    assert callback.scheduler.final_loss == pytest.approx(naive_loss(model), rel=1e-4)


def test_gives_up_with_the_last_good_weights(tmp_path: Path, caplog: Any) -> None:
    model, callback = tiny_llama(), LossToZeroCallback(max_recoveries=1)
    trainer = trainer_of(model, tmp_path, Poison(*range(1, 400)), callback)
    with caplog.at_level(logging.WARNING, logger="common.hyperfit.callback"):
        trainer.train()
    assert callback.scheduler.outcome == "diverged"
    assert trainer.state.global_step < 30
    assert math.isfinite(naive_loss(model))
    assert "diverged: the training loss became nan" in caplog.text


def test_budget_ends_with_a_full_pass_and_says_so(tmp_path: Path, caplog: Any) -> None:
    model, callback = tiny_llama(), LossToZeroCallback()
    with caplog.at_level(logging.WARNING, logger="common.hyperfit.callback"):
        trainer_of(model, tmp_path, callback, max_steps=7).train()
    assert callback.scheduler.outcome == "budget_exhausted"
    assert callback.scheduler.final_loss == pytest.approx(naive_loss(model), rel=1e-4)
    assert "budget exhausted: no updates left" in caplog.text


def test_a_stop_from_elsewhere_still_gets_an_outcome(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 3

    model, callback = tiny_llama(), LossToZeroCallback()
    trainer_of(model, tmp_path, callback, Stop()).train()
    assert callback.scheduler.outcome == "budget_exhausted"
    assert callback.scheduler.final_loss == pytest.approx(naive_loss(model), rel=1e-4)


@pytest.mark.parametrize("by_trainer", [False, True])
def test_resume_repeats_the_uninterrupted_run(by_trainer: bool, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 13, "logging_strategy": "no"}
    whole, callback = tiny_llama(), LossToZeroCallback()
    set_seed(1)
    trainer_of(whole, tmp_path / "whole", callback, **options).train()
    assert callback.scheduler.outcome == "reached"
    assert (tmp_path / "whole" / f"checkpoint-{callback.scheduler.update}").is_dir()

    resumed, later, rates = tiny_llama(), LossToZeroCallback(), Rates()
    trainer = trainer_of(
        resumed,
        tmp_path / "resumed",
        later,
        rates,
        restore_callback_states_from_checkpoint=by_trainer,
        **options,
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-26"))
    [found] = [c for c in trainer.callback_handler.callbacks if isinstance(c, LossToZeroCallback)]
    assert (found is later) is not by_trainer
    assert found.scheduler.state_dict() == callback.scheduler.state_dict()
    assert len(rates.rates) == callback.scheduler.update - 26
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_without_the_callback_is_refused(tmp_path: Path) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    trainer_of(tiny_llama(), tmp_path, **options).train()
    trainer = trainer_of(tiny_llama(), tmp_path, LossToZeroCallback(), **options)
    with pytest.raises(UserError, match="checkpoint"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("model_of", [tiny_llama, tiny_gpt2])
def test_dropout_is_switched_off_and_said_or_refused(
    model_of: Any, tmp_path: Path, caplog: Any
) -> None:
    model = model_of()
    with pytest.raises(UserError, match="dropout"):
        trainer_of(model, tmp_path, LossToZeroCallback(disable_dropout=False)).train()
    ids_BT = Rows().ids_NT
    model.train()
    assert not torch.equal(model(ids_BT).logits, model(ids_BT).logits)
    with caplog.at_level(logging.WARNING, logger="common.hyperfit.callback"):
        trainer_of(model, tmp_path, LossToZeroCallback(), max_steps=1).train()
    assert "dropout set to 0" in caplog.text
    model.train()
    assert torch.equal(model(ids_BT).logits, model(ids_BT).logits)


def test_unreachable_or_unrestorable_setups_are_refused(tmp_path: Path) -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            return iter([Rows()[0]] * 4)

    with pytest.raises(UserError, match="label_smoothing_factor"):
        callback = LossToZeroCallback()
        trainer_of(tiny_llama(), tmp_path, callback, label_smoothing_factor=0.1).train()
    trainer = trainer_of(tiny_llama(), tmp_path, LossToZeroCallback())
    trainer.train_dataset = Stream()
    with pytest.raises(UserError, match="IterableDataset"):
        trainer.train()


def test_options_are_checked_when_the_callback_is_made() -> None:
    with pytest.raises(UserError, match=r"schedule\.target_loss"):
        LossToZeroCallback(target_loss=0.0)
    with pytest.raises(UserError, match="observe_every"):
        LossToZeroCallback(observe_every=0)
    with pytest.raises(UserError, match="TrainingArguments"):
        LossToZeroCallback(learning_rate=1e-3)
    with pytest.raises(TypeError, match="targetloss"):
        LossToZeroCallback(targetloss=0.1)


def test_the_callback_has_the_options_and_defaults_of_a_run() -> None:
    config = ScheduleConfig()
    of_callback = LossToZeroCallback().scheduler.options
    for entry in fields(ScheduleOptions):
        assert getattr(of_callback, entry.name) == getattr(config, entry.name), entry.name
    assert LossToZeroCallback(target_loss=0.5).scheduler.options.knee_loss == pytest.approx(0.7)


def test_callback_and_loop_make_the_same_run(tmp_path: Path) -> None:
    """One update is one pass over the set, so that the order of the data cannot differ."""
    ids_NT = torch.cat([torch.arange(SEQUENCES)[:, None], Rows().ids_NT[:, 1:]], dim=1)

    class Whole(Rows):
        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            return {"input_ids": ids_NT[index], "labels": ids_NT[index]}

    model, callback = tiny_llama(), LossToZeroCallback(observe_every=1, smoothing_updates=4)
    settings = {"adam_epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0}
    trainer = trainer_of(
        model, tmp_path, callback, per_device_train_batch_size=SEQUENCES, **settings
    )
    trainer.train_dataset = Whole()
    trainer.train()

    ours, records = tiny_llama(), []
    ours.config._attn_implementation = "sdpa"
    for module in ours.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    schedule = LossToZero(
        ScheduleOptions(smoothing_updates=4),
        learning_rate=5e-3,
        max_updates=400,
        updates_per_epoch=1,
    )
    result = TrainingLoop(
        head=attach_head(ours, ids_NT[:2]),
        batches=Batches(
            sequences_NT=ids_NT, seed=0, batch_size=SEQUENCES, micro_batch_size=SEQUENCES
        ),
        schedule=schedule,
        optimizer=torch.optim.AdamW(ours.parameters(), lr=5e-3, weight_decay=0.0),
        compute=Compute(torch.device("cpu"), bf16=False),
        session=Session(
            Checkpoints(tmp_path / "checkpoints"),
            Journal(write=records.append, forget_after=lambda _update: None),
            Cadence(log_every=1),
        ),
    ).run()
    assert result.outcome == callback.scheduler.outcome == "reached"
    assert result.updates == callback.scheduler.update > 20
    assert result.final_loss == pytest.approx(callback.scheduler.final_loss, rel=1e-3)
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    rates = [record["learning_rate"] for record in records if record["kind"] == "update"]
    assert rates == pytest.approx(logged, rel=1e-3) and rates[-1] < rates[0]


def test_an_odd_batch_is_no_spike(tmp_path: Path) -> None:
    class Odd(Trainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            return loss + 100.0 * (self.state.global_step == 30)

    odd, callback = trainer_of(tiny_llama(), tmp_path, max_steps=40), LossToZeroCallback()
    odd.__class__ = Odd
    odd.add_callback(callback)
    odd.train()
    assert max(entry.get("loss", 0.0) for entry in odd.state.log_history) > 20
    assert callback.scheduler.recoveries == 0


def test_a_stop_after_a_full_pass_does_not_count_that_pass_twice(tmp_path: Path) -> None:
    class StopAtFirstPass(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = callback.scheduler.held == 1

    callback = LossToZeroCallback(target_loss=0.05)
    trainer_of(tiny_llama(), tmp_path, callback, StopAtFirstPass()).train()
    assert callback.scheduler.held == 1
    assert callback.scheduler.outcome == "budget_exhausted"


def test_the_best_model_at_the_end_would_be_the_early_stopped_one(
    tmp_path: Path, caplog: Any
) -> None:
    trainer = trainer_of(tiny_llama(), tmp_path, LossToZeroCallback())
    trainer.args.load_best_model_at_end = True
    with pytest.raises(UserError, match="load_best_model_at_end"):
        trainer.train()

    early = EarlyStoppingCallback(early_stopping_patience=1)
    trainer = trainer_of(tiny_llama(), tmp_path, LossToZeroCallback(), early, max_steps=3)
    with (
        caplog.at_level(logging.WARNING, logger="common.hyperfit.callback"),
        suppress(AssertionError),  # it wants evaluations
    ):
        trainer.train()
    assert "EarlyStoppingCallback ends the run by a validation measure" in caplog.text


@pytest.mark.parametrize(("kind", "name"), [("FSDP", "FSDP"), ("DEEPSPEED", "DeepSpeed")])
def test_sharding_set_up_by_a_launcher_is_refused(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(tiny_llama(), tmp_path, LossToZeroCallback())
    assert not trainer.args.fsdp and trainer.args.deepspeed is None
    shared = PartialState._shared_state  # where the launcher's choice ends up
    monkeypatch.setitem(shared, "distributed_type", DistributedType[kind])
    with pytest.raises(UserError, match=f"whole on each device; got {name}"):
        LossToZeroCallback().on_train_begin(
            trainer.args,
            trainer.state,
            trainer.control,
            model=trainer.model,
            train_dataloader=DataLoader(Rows()),
        )


def test_sharded_parameters_are_refused(tmp_path: Path) -> None:
    model = tiny_llama()
    trainer = trainer_of(model, tmp_path, LossToZeroCallback())
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        model.lm_head.weight = nn.Parameter(distribute_tensor(model.lm_head.weight.data, mesh))
        with pytest.raises(UserError, match="DTensor"):
            trainer.train()
    finally:
        torch.distributed.destroy_process_group()


def test_processes_decide_on_the_pass_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_first_process(0.3) == 0.3  # one process, nobody to ask

    def broadcast(told: list[float], src: int) -> None:
        assert src == 0
        told[0] = 0.01

    with monkeypatch.context() as patch:
        patch.setattr(torch.distributed, "is_initialized", lambda: True)
        patch.setattr(torch.distributed, "broadcast_object_list", broadcast)
        assert of_first_process(0.3) == 0.01
    monkeypatch.setattr(common.hyperfit.callback, "of_first_process", lambda _measured: (0.01, 1.0))
    callback = LossToZeroCallback()
    trainer_of(tiny_llama(), tmp_path, callback, max_steps=3).train()
    assert callback.scheduler.final_loss == 0.01


def test_a_full_pass_leaves_each_modules_mode_alone() -> None:
    model = tiny_gpt2()
    model.train()
    model.transformer.h[0].eval()  # as one does with a frozen part that has batch norm
    before = [module.training for module in model.modules()]
    loss_and_accuracy(model, DataLoader(Rows()), batch_size=2, device=model.device)
    assert [module.training for module in model.modules()] == before


def test_fixed_mode_stops_at_its_updates(tmp_path: Path) -> None:
    callback, rates = LossToZeroCallback(mode="fixed", fixed_updates=12), Rates()
    trainer = trainer_of(tiny_llama(), tmp_path, callback, rates)
    trainer.train()
    assert trainer.state.global_step == 12
    assert rates.rates == [5e-3] * 12
    assert callback.scheduler.outcome == "budget_exhausted"
