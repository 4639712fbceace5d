"""Types of options with a few values, shared by the configuration and the code that uses them."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
Switch = Literal["auto", "on", "off"]
SaveDtype = Literal["auto", "fp32", "bf16", "fp16"]
Tracker = Literal["none", "tensorboard", "wandb", "trackio"]
Optimizer = Literal["adamw", "adamw8bit"]
Split = Literal["train", "heldout"]
