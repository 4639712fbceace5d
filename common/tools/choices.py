"""Values that are one of a few words, known to who gives them and to who acts on them."""

from __future__ import annotations

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
Switch = Literal["auto", "on", "off"]
SaveDtype = Literal["auto", "fp32", "bf16", "fp16"]
Tracker = Literal["none", "tensorboard", "wandb", "trackio"]
Split = Literal["train", "heldout"]
