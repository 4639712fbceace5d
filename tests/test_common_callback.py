"""The callback in a real `transformers.Trainer` on a tiny random model."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from common.callback import LossToZeroCallback, full_pass_loss
from common.errors import UserError

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
    logging.getLogger("common.callback").setLevel(logging.NOTSET)


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
    losses = [
        full_pass_loss(model, loader, batch_size=size, device=torch.device("cpu"))
        for size in (1, 4, 6)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    for loss in losses:
        assert loss == pytest.approx(naive_loss(model), rel=1e-5)
    uneven = [
        full_pass_loss(model, DataLoader([row]), batch_size=1, device=model.device)  # type: ignore[arg-type]
        for row in rows
    ]
    assert sum(uneven) / len(uneven) != pytest.approx(losses[0], rel=1e-5)


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
    model, callback, rates = tiny_llama(), LossToZeroCallback(snapshot_every=10), Rates()
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
    with caplog.at_level(logging.WARNING, logger="common.callback"):
        trainer.train()
    assert callback.scheduler.outcome == "diverged"
    assert trainer.state.global_step < 30
    assert math.isfinite(naive_loss(model))
    assert "diverged: the training loss became nan" in caplog.text


def test_budget_ends_with_a_full_pass_and_says_so(tmp_path: Path, caplog: Any) -> None:
    model, callback = tiny_llama(), LossToZeroCallback()
    with caplog.at_level(logging.WARNING, logger="common.callback"):
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
    with caplog.at_level(logging.WARNING, logger="common.callback"):
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


def test_fixed_mode_stops_at_its_updates(tmp_path: Path) -> None:
    callback, rates = LossToZeroCallback(mode="fixed", fixed_updates=12), Rates()
    trainer = trainer_of(tiny_llama(), tmp_path, callback, rates)
    trainer.train()
    assert trainer.state.global_step == 12
    assert rates.rates == [5e-3] * 12
    assert callback.scheduler.outcome == "budget_exhausted"
