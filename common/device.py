"""Device, precision and compilation: what `auto` means, decided by what the machine can do."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator

from common.config import Precision, Switch, Tracker
from common.errors import UserError
from common.record import TRACKER_FOLDER
from common.tracker import check_tracker

# Compiling takes up to a minute. It pays where products are fast and the rest shows: on a CPU
# without bf16 units it gained 2.5 % of a step (matrix products are 70 % of it).
COMPILE_FROM_UPDATES = 400


def pick_device(name: str) -> torch.device:
    """The device of `--device`; "auto" is cuda, then mps, then cpu.

    Raises:
        UserError: an unknown device or one that is not there.
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
    """Whether bf16 products run on units of their own; without them autocast is many times slower
    (measured on a CPU with AVX2 only: 5 GFLOP/s against 150 in fp32)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        # oneDNN calls any AVX-512 "supported", and computes bf16 in fp32 units there.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def make_accelerator(
    device: torch.device,
    precision: Precision,
    *,
    tracker: Tracker = "none",
    folder: Path | None = None,
) -> Accelerator:
    """An accelerator for one process on `device`; fp32 weights, autocast as `precision` says.

    Args:
        tracker: for `common.tracker.tracked`.
        folder: where a tracker that writes files puts them.

    Raises:
        UserError: the tracker's package is not installed.
    """
    check_tracker(tracker)
    bf16 = computes_in_bf16(device) if precision == "auto" else precision == "bf16"
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if bf16 else "no",
        log_with=None if tracker == "none" else tracker,
        project_dir=None if folder is None else folder / TRACKER_FOLDER,
    )


def should_compile(switch: Switch, device: torch.device, updates: int) -> bool:
    """Whether to torch.compile: "auto" wants a compiler and a run long enough to pay for it.

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
