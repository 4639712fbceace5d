"""Rounding to what is saved, against a model that is saved and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import tiny_model
from transformers import AutoModelForCausalLM

from common.model.saved_weights import DTYPES, dtype_to_save, round_weights, rounding_line


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_rounded_weights_are_those_read_back(name: str, family: str, tmp_path: Path) -> None:
    model, dtype = tiny_model(family), DTYPES[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    round_weights(model, dtype)
    rounded = {key: value.clone() for key, value in model.state_dict().items()}
    assert any(not torch.equal(rounded[key], value) for key, value in before.items())
    assert all(value.dtype is before[key].dtype for key, value in rounded.items())
    model.to(dtype).save_pretrained(tmp_path)
    size = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    assert size <= (tmp_path / "model.safetensors").stat().st_size < size + 4000
    read: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for key, value in read.state_dict().items():
        assert torch.equal(value, rounded[key]), key


def test_auto_is_the_source() -> None:
    assert dtype_to_save("auto", torch.bfloat16) is torch.bfloat16
    assert dtype_to_save("auto", torch.float16) is torch.float16
    assert dtype_to_save("auto", None) is torch.float32
    assert dtype_to_save("auto", torch.float8_e4m3fn) is torch.float32
    assert dtype_to_save("fp32", torch.bfloat16) is torch.float32
    assert dtype_to_save("fp16", None) is torch.float16


def test_the_line_tells_both_losses() -> None:
    line = rounding_line(0.0451, 0.0463, torch.bfloat16)
    assert "saved in bf16" in line and "0.0463, 0.0451 in fp32" in line
    assert rounding_line(None, 0.0463, torch.float16).endswith("the training loss is 0.0463")
