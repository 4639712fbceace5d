"""AdamW, or AdamW whose two moments take one byte each (torchao, extra `low-memory`).

The weights stay in float32, so that small updates do not round away, and so do their gradients. A
trained weight then takes 10 bytes instead of 16. The moments are stored in blocks of 256 numbers
with a scale of their own (Dettmers et al., arXiv 2110.02861). Parameters of fewer than 4096 numbers
or no whole number of blocks keep moments in float32.

torchao also offers stochastic rounding. It concerns bf16 weights alone, so there is none here.
torchao compiles its step for each shape of a parameter: the first update takes up to a minute.
"""

from __future__ import annotations

import importlib.util
import shutil
from typing import TYPE_CHECKING

from common.errors import UserError
from common.tools.choices import Optimizer

if TYPE_CHECKING:  # options are checked before torch is imported
    import torch

_BLOCK = 256
_MOMENTS = 2
BYTES_OF_MOMENTS: dict[Optimizer, float] = {
    "adamw": _MOMENTS * 4,
    "adamw8bit": _MOMENTS * (1 + 4 / _BLOCK),  # a code, and its part of the scale
}


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse an optimizer whose package is missing.

    Raises:
        UserError: the package is not installed; the message says what to install.
    """
    if optimizer == "adamw8bit" and importlib.util.find_spec("torchao") is None:
        raise UserError(
            expected="the package torchao for train.optimizer adamw8bit",
            got="it is not installed",
            fix='pip install "hyperfitting[low-memory]"',
        )


def check_compiler(optimizer: Optimizer, device: torch.device) -> None:
    """Refuse an optimizer that is compiled where no compiler is.

    Raises:
        UserError: there is no C++ compiler on the PATH.
    """
    compiler = device.type == "cuda" or any(shutil.which(c) for c in ("g++", "clang++", "c++"))
    if optimizer == "adamw8bit" and not compiler:
        raise UserError(
            expected="a C++ compiler for train.optimizer adamw8bit, whose step is compiled",
            got="none on the PATH",
            fix="install one or set train.optimizer to adamw",
        )


def adamw(
    parameters: list[torch.nn.Parameter],
    *,
    optimizer: Optimizer,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> torch.optim.Optimizer:
    """AdamW over these parameters, fused where the device has it, or with 8-bit moments.

    Raises:
        UserError: the package of the optimizer is not installed.
    """
    import torch

    check_optimizer(optimizer)
    if optimizer == "adamw8bit":
        from torchao.optim import AdamW8bit  # pyright: ignore[reportMissingImports]

        return AdamW8bit(
            parameters,
            lr=learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            block_size=_BLOCK,
        )
    return torch.optim.AdamW(
        parameters,
        lr=learning_rate,
        betas=betas,
        weight_decay=weight_decay,
        fused=parameters[0].device.type in ("cpu", "cuda", "mps"),
    )
