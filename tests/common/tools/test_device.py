"""What `auto` means on machines of several kinds."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

import common.tools.device
from common.errors import UserError
from common.tools.device import (
    COMPILE_FROM_UPDATES,
    Compute,
    computes_in_bf16,
    pick_compute,
    pick_device,
    should_compile,
)

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
    assert pick_compute(CPU, "auto").precision == ("fp32" if unit == "none" else "bf16")


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
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        compute = pick_compute(CPU, precision)
        assert compute.precision == precision and compute.device == CPU
        assert dtype_of_a_product(compute) == dtype


def dtype_of_a_product(compute: Compute) -> torch.dtype:
    with compute.autocast():
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_no_state_of_the_process_decides_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an earlier run, nor the caller's own accelerate or autocast, nor the environment."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    AcceleratorState._reset_state(True)
    theirs = Accelerator(mixed_precision="bf16", cpu=True)
    try:
        one, other = pick_compute(CPU, "fp32"), pick_compute(CPU, "bf16")
        with theirs.autocast():
            assert dtype_of_a_product(one) == torch.float32
        assert dtype_of_a_product(other) == torch.bfloat16
        assert dtype_of_a_product(one) == torch.float32
        assert theirs.mixed_precision == "bf16"
    finally:
        AcceleratorState._reset_state(True)


def test_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        common.tools.device, "computes_in_bf16", lambda device: device.type == "cpu"
    )
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
