"""Device, precision and compilation: what `auto` means on this machine."""

from __future__ import annotations

import platform
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import get_int_from_env

from common.errors import UserError
from common.tools.choices import Precision, Switch

# Variables in which torchrun, accelerate, MPI and Slurm's srun give the number of processes.
_PROCESS_COUNTS = (
    "WORLD_SIZE",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
)
# Compiling takes up to a minute. It pays only where matrix products are fast: on a CPU without bf16
# units they take 70 % of a step, and compiling saved 2.5 %.
COMPILE_FROM_UPDATES = 400


def pick_device(name: str) -> torch.device:
    """The device of `--device`; "auto" is cuda, then mps, then cpu.

    Raises:
        UserError: the device is unknown or not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(name, False):
        raise UserError(
            expected=f"a device among {', '.join(n for n, ok in there.items() if ok)}",
            got=repr(name),
            fix="change --device",
        )
    return torch.device(name)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 units; without them autocast is many times slower (measured on a
    CPU with AVX2 only: 5 GFLOP/s against 150 in fp32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        # oneDNN reports bf16 as supported on any AVX-512 CPU, and computes it in fp32 units there.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run: weights in fp32, products in bf16 if `bf16` is set.

    It is a value of the run. accelerate keeps both in global state of the process, where the first
    run would decide for all others.

    Attributes:
        device: of weights and batches.
        bf16: whether products are autocast to bf16.
    """

    device: torch.device
    bf16: bool

    @property
    def precision(self) -> str:
        """ "bf16" or "fp32"."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> AbstractContextManager[Any]:
        """Context for every forward pass of the run; it overrides an autocast of the caller."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def pick_compute(device: torch.device, precision: Precision) -> Compute:
    """What `--train.precision` means on `device`: "auto" is bf16 if the device has units for it."""
    bf16 = computes_in_bf16(device) if precision == "auto" else precision == "bf16"
    return Compute(device, bf16)


def refuse_several_processes() -> None:
    """Refuse to run under a launcher, where each process would train its own copy.

    Raises:
        UserError: a launcher started several processes.
    """
    count = get_int_from_env(_PROCESS_COUNTS, 1)
    if count > 1:
        raise UserError(
            expected="one process",
            got=f"{count} started by the launcher",
            fix="run without a launcher: training over several processes is not supported",
        )


def should_compile(switch: Switch, device: torch.device, updates: int) -> bool:
    """Whether to use torch.compile: "auto" needs a compiler and a run long enough to gain by it.

    Raises:
        UserError: "on" without a compiler.
    """
    compiler = device.type == "cuda" or any(shutil.which(c) for c in ("g++", "clang++", "c++"))
    if switch == "on" and not compiler:
        raise UserError(
            expected="a C++ compiler for train.compile on",
            got="none on the PATH",
            fix="install one or set train.compile to off",
        )
    if switch == "auto":
        return compiler and computes_in_bf16(device) and updates >= COMPILE_FROM_UPDATES
    return switch == "on"
