"""The ways of training that `benchmarks.speed.training` compares, each in a process of its own.

An arm trains without end, in turns: it waits for its turn, does some updates, reports how long they
took and waits again. So every arm keeps its compiled code and its optimizer state between turns,
only one of them computes at a time, and the peak memory of a process is that of its arm.

All arms train all weights of one checkpoint on the same sequences with AdamW at one constant rate
and without weight decay; the Trainer clips gradients and reports its loss as often as our loop.

Shapes: N sequences, T tokens each, B sequences per update.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from common.config import TrainConfig
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.loop import TrainingLoop
from common.hyperfit.loss_to_zero import LossToZero
from common.hyperfit.options import ScheduleOptions
from common.hyperfit.session import Session
from common.hyperfit.spacing import Cadence
from common.hyperfit.update import Batches, StepOptions
from common.model.head import attach_head
from common.record.journal import Journal
from common.tools.device import (
    COMPILE_FROM_UPDATES,
    computes_in_bf16,
    pick_compute,
    pick_device,
    should_compile,
)
from common.tools.modules import disable_dropout
from common.training import make_optimizer
from text.model import load_model

LEARNING_RATE = 1e-4  # low enough for any batch size; speed does not depend on it
ENDLESS = 10**6  # updates; the turns end first
TURN_SECONDS = 20.0  # a turn ends after that even if updates are missing: emulated bf16 is slow


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all arms have in common.

    Attributes:
        model: as `text.model.load_model` takes it.
        sequences_NT: (N, T) int64 ids.
        batch: sequences per update.
        updates: per turn.
        device: as `common.tools.device.pick_device` takes it.
        compile: whether our loop compiles as it does in a long run.
    """

    model: str
    sequences_NT: Tensor
    batch: int
    updates: int
    device: str
    compile: bool


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn of one arm measured.

    Attributes:
        updates: done in this turn.
        seconds: they took; in the first turn with loading, compilation and warm-up.
        cpu_seconds: of processor time, of all threads of the process.
        bf16: whether products ran in bf16.
        compiled: whether the decoder is compiled.
        peak_rss_mib: of the process so far; None where the system does not say.
        peak_device_mib: of tensors on an accelerator so far; None on a CPU.
        threads: of torch.
    """

    updates: int
    seconds: float
    cpu_seconds: float
    bf16: bool
    compiled: bool
    peak_rss_mib: float | None
    peak_device_mib: float | None
    threads: int


class NoMoreTurnsError(Exception):
    """Ends an arm from inside its endless training."""


class Turns:
    """An arm's side of the conversation; `note` is called after each update, or each few."""

    def __init__(self, connection: Connection, setting: Setting) -> None:
        self._connection, self._updates = connection, setting.updates
        self._device = pick_device(setting.device)
        self.bf16 = self.compiled = False
        self._done, self._reported = 0, 0
        self._started = self._cpu_started = 0.0
        self._wait()

    def note(self, update: int) -> None:
        """`update` updates have been made; at the end of a turn, report and wait."""
        self._done = update - self._reported
        late = time.perf_counter() - self._started > TURN_SECONDS
        if self._done < self._updates and not late:
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._connection.send(
            Turn(
                updates=self._done,
                seconds=time.perf_counter() - self._started,
                cpu_seconds=time.process_time() - self._cpu_started,
                bf16=self.bf16,
                compiled=self.compiled,
                peak_rss_mib=peak_rss_mib(),
                peak_device_mib=torch.cuda.max_memory_allocated() / 2**20
                if self._device.type == "cuda"
                else None,
                threads=torch.get_num_threads(),
            )
        )
        self._reported = update
        self._wait()

    def _wait(self) -> None:
        try:
            self._connection.recv()
        except (EOFError, ConnectionError):
            raise NoMoreTurnsError from None
        self._started, self._cpu_started = time.perf_counter(), time.process_time()


def peak_rss_mib() -> float | None:
    """Largest resident set of this process so far. `getrusage` would not do: there a process
    starts with the peak of the one that started it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) / 1024 if found else None


def train_ours(setting: Setting, turns: Turns, *, probe: bool) -> None:
    """Our loop with its defaults, a constant rate, and neither checkpoints nor validation."""
    model = _load(setting)
    device = pick_device(setting.device)
    turns.bf16 = computes_in_bf16(device)
    turns.compiled = setting.compile and should_compile("auto", device, COMPILE_FROM_UPDATES)
    with tempfile.TemporaryDirectory() as folder:
        cadence = Cadence(
            log_every=setting.updates, checkpoint_every=ENDLESS, validate_every=ENDLESS
        )
        journal = Journal(write=lambda _record: None, forget_after=lambda _update: None)
        TrainingLoop(
            head=attach_head(model, setting.sequences_NT[:2].to(device)),
            batches=Batches(
                sequences_NT=setting.sequences_NT,
                seed=0,
                batch_size=setting.batch,
                micro_batch_size=setting.batch,
            ),
            schedule=LossToZero(
                ScheduleOptions(mode="fixed", fixed_updates=ENDLESS),
                learning_rate=LEARNING_RATE,
                max_updates=ENDLESS,
                updates_per_epoch=ENDLESS,
            ),
            optimizer=make_optimizer(model, TrainConfig(), LEARNING_RATE),
            compute=pick_compute(device, "auto"),
            session=Session(Checkpoints(Path(folder)), journal, cadence, on_window=turns.note),
            step=StepOptions(compile_body=turns.compiled, stats=probe),
        ).run()


def train_trainer(setting: Setting, turns: Turns, *, bf16: bool) -> None:
    """`transformers.Trainer` on unpadded rows, evaluation and saving off."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class TakeTurns(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            turns.note(state.global_step)

    cpu = pick_device(setting.device).type == "cpu"
    turns.bf16 = bf16
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=_load(setting),
            args=TrainingArguments(
                output_dir=folder,
                max_steps=ENDLESS,
                per_device_train_batch_size=setting.batch,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                weight_decay=0.0,
                bf16=bf16,
                use_cpu=cpu,
                dataloader_pin_memory=not cpu,
                logging_steps=setting.updates,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=_LabelledRows(setting.sequences_NT),
            callbacks=[TakeTurns()],
        ).train()


def train_eager(setting: Setting, turns: Turns) -> None:
    """The released loop of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318): the model's own loss
    in float32, plain AdamW, no clipping."""
    model = _load(setting)
    device = pick_device(setting.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=False
    )
    update = 0
    while True:
        for rows_B in torch.randperm(len(setting.sequences_NT)).split(setting.batch):
            ids_BT = setting.sequences_NT[rows_B].to(device)
            loss = model(ids_BT, labels=ids_BT).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            update += 1
            turns.note(update)


ARMS: dict[str, Callable[[Setting, Turns], None]] = {
    "ours": lambda setting, turns: train_ours(setting, turns, probe=True),
    "ours-without-probe": lambda setting, turns: train_ours(setting, turns, probe=False),
    "trainer-bf16": lambda setting, turns: train_trainer(setting, turns, bf16=True),
    "trainer-fp32": lambda setting, turns: train_trainer(setting, turns, bf16=False),
    "eager-fp32": train_eager,
}


def work(arm: str, setting: Setting, connection: Connection) -> None:
    """Main of an arm's process."""
    sys.stdout = sys.stderr  # the Trainer prints its logs, the result has standard output to itself
    try:
        ARMS[arm](setting, Turns(connection, setting))
    except NoMoreTurnsError:
        connection.close()


class _LabelledRows(Dataset[dict[str, Tensor]]):
    def __init__(self, sequences_NT: Tensor) -> None:
        self._sequences_NT = sequences_NT

    def __len__(self) -> int:
        return len(self._sequences_NT)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        ids_T = self._sequences_NT[row]
        return {"input_ids": ids_T, "labels": ids_T}


def _load(setting: Setting) -> Any:
    model = load_model(setting.model, device=pick_device(setting.device))
    disable_dropout(model)
    return model.train()
