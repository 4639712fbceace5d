"""What every modality's options share: their ranges, what resuming may change, where runs go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.config import (
    RESUME_MAY_DIFFER,
    RunConfig,
    TrainConfig,
    check_ranges,
    output_folder,
)
from common.errors import UserError
from common.tools.options import dotted, parse


def test_what_a_resumed_run_may_change_exists() -> None:
    assert set(RESUME_MAY_DIFFER) <= set(dotted(RunConfig()))


def test_output_folder() -> None:
    assert output_folder(RunConfig(name="a"), "shapes") == Path("runs/shapes/a")
    assert output_folder(RunConfig(name="a", out="/x/y"), "shapes") == Path("/x/y")


def test_ranges_accept_the_defaults_and_the_limits() -> None:
    check_ranges(RunConfig(), sequences=8)
    check_ranges(
        RunConfig(train=TrainConfig(batch_size=1, max_gradient_norm=0.0, log_every=1)), sequences=1
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train.batch_size", "0"),
        ("train.batch_size", "9"),
        ("train.micro_batch_size", "0"),
        ("train.log_every", "0"),
        ("train.checkpoint_every", "-1"),
        ("train.validate_every_epochs", "0"),
        ("train.validate_every_epochs", ".nan"),
        ("train.max_gradient_norm", "-1"),
        ("train.weight_decay", "-0.1"),
        ("train.adam_beta1", "1"),
        ("train.adam_beta2", "-0.5"),
        ("measure.batch_size", "0"),
        ("measure.max_batch", "0"),
        ("measure.curve_prompts", "-1"),
        ("schedule.max_epochs", "0"),
    ],
)
def test_ranges(option: str, value: str) -> None:
    with pytest.raises(UserError, match=re.escape(option)):
        check_ranges(
            parse(RunConfig, [f"--{option}={value}"], prog="run", description=""), sequences=8
        )
