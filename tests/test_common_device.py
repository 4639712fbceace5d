"""What `auto` means on machines of several kinds."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from accelerate.state import AcceleratorState

import common.device
from common.device import (
    COMPILE_FROM_UPDATES,
    computes_in_bf16,
    make_accelerator,
    pick_device,
    should_compile,
)
from common.errors import UserError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, CUDA), (True, False, CUDA), (False, True, MPS), (False, False, CPU)],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: object) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert pick_device("auto") == expected


def test_named_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=True, mps=False)
    assert pick_device("cpu") == CPU and pick_device("cuda") == CUDA
    with pytest.raises(UserError, match="among cpu, cuda; got 'mps'"):
        pick_device("mps")
    with pytest.raises(UserError, match="got 'gpu'"):
        pick_device("gpu")


@pytest.mark.parametrize("unit", ["none", "avx512", "amx"])
def test_bf16_on_x86_needs_units_of_its_own(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: unit == "avx512")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: unit == "amx")
    assert computes_in_bf16(CPU) == (unit != "none")
    AcceleratorState._reset_state(True)
    precision = make_accelerator(CPU, "auto").mixed_precision
    assert precision == ("no" if unit == "none" else "bf16")


def test_bf16_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation, native=native: native or including_emulation,
        )
        assert computes_in_bf16(CUDA) == native
    assert not computes_in_bf16(MPS)


def test_precision_decides_over_the_machine() -> None:
    for precision, expected in (("fp32", "no"), ("bf16", "bf16")):
        AcceleratorState._reset_state(True)
        accelerator = make_accelerator(CPU, precision)
        assert accelerator.mixed_precision == expected and accelerator.device == CPU
        with accelerator.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb", "trackio"])
def test_missing_tracker(monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    fix = r"hyperfitting\[track\]" if tracker == "tensorboard" else f"pip install {tracker}"
    with pytest.raises(UserError, match=fix):
        make_accelerator(CPU, "fp32", tracker=tracker)


def test_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.device, "computes_in_bf16", lambda device: device.type == "cpu")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == "c++" else None)
    assert should_compile("on", CPU, 1)
    assert not should_compile("off", CPU, 10**6)
    assert should_compile("auto", CPU, COMPILE_FROM_UPDATES)
    assert not should_compile("auto", CPU, COMPILE_FROM_UPDATES - 1)
    assert not should_compile("auto", MPS, 10**6)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert not should_compile("auto", CPU, 10**6)
    with pytest.raises(UserError, match="C\\+\\+ compiler"):
        should_compile("on", CPU, 1)
