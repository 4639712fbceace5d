"""Measurements that are made once and read again: within a run, and between runs.

A stage is one state of the weights. Its measurements are saved. Where they are on disk they are
read, not computed again, so a resumed run continues where it stopped.

Runs on the same base model differ only in their training, and all measure the original model on the
same prompts. So they can share that stage in a folder. There its name is a hash of everything that
the figures depend on: weights, prompts, true continuations, decoding, seed, batch sizes, precision,
the code of this package, and the versions of the libraries that compute. Two different results
never have the same name. Any file of such a folder can be deleted; a run that needs it measures
again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.across_samples import sampled_conditions
from common.config import MeasureConfig
from common.domain import Domain
from common.record.provenance import provenance
from common.tools.device import Compute
from common.tools.files import atomic_write_text, writing

SOURCES = Path(__file__).parent
"""The code that measures. All its folders are hashed, or figures of older code would be reused."""


class Stages:
    """Finished stages of one run.

    Args:
        folder: made with the first stage.
        claim: receives the path of each file before it is written, see `Manifest.claim`.
    """

    def __init__(self, folder: Path, claim: Callable[..., None] | None = None) -> None:
        self.folder, self._claim = folder, claim

    def once(
        self,
        name: str,
        compute: Callable[[], Any],
        *,
        usable: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """The JSON value of stage `name`: read from its file, or else computed and written.

        A computed value is converted to JSON and back as well, so an interrupted run and an
        uninterrupted one continue from equal values.

        Args:
            name: of the stage.
            compute: makes its value.
            usable: whether a saved value is complete; an older version may have saved less.
        """
        path = self.folder / f"{name}.json"
        if os.path.isfile(path):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if usable(kept):
                return kept
        text = json.dumps(compute(), default=_plain)
        if self._claim is not None:
            self._claim(path)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text)
        return json.loads(text)


def original_key(domain: Domain, measure: MeasureConfig, *, seed: int, compute: Compute) -> str:
    """Name under which runs share what they measure on the original model: a hash, see above.

    Args:
        domain: its model still has the original weights.
        measure: the options of measurement.
        seed: of the sampling.
        compute: device and precision of the forward passes.
    """
    machine = provenance(seed, [])
    conditions = [c for c in domain.conditions() if c.stage == "original"]
    asked = {
        "config": domain.model.config.to_dict(),
        "conditions": [
            (c.name, None if c.method is None else c.method.to_dict(), c.blocked)
            for c in conditions
        ],
        "processors": [(type(p).__qualname__, vars(p)) for p in domain.processors()],
        "seed": seed,
        "batch_sizes": (measure.batch_size, measure.max_batch),
        "samples": _samples(domain, measure),
        "precision": compute.precision,
        "machine": [machine[name] for name in ("device", "cpu", "python", "versions")],
        "threads": torch.get_num_threads(),
        "prompt_sets": [(s.name, s.new_tokens, s.pooled) for s in domain.prompts()],
        "blocker": measure.blocker_match if any(c.blocked for c in conditions) else None,
    }
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for file in sorted(SOURCES.rglob("*.py")):
        digest.update(file.read_bytes())
    for name, tensor in sorted(domain.model.state_dict().items()):
        _add(digest, name, tensor)
    for prompts in domain.prompts():
        _add(digest, prompts.name, prompts.ids_PC)
        for reference in prompts.references:
            _add(digest, "reference", torch.from_numpy(reference))
    if asked["blocker"] is not None:  # the blocker depends on the training set
        _add(digest, "train", domain.sequences("train"))
    return f"original-{digest.hexdigest()}"


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _samples(domain: Domain, measure: MeasureConfig) -> Any:
    """What the diversity across samples depends on; None where it is not measured."""
    if measure.samples_per_prompt == 0:
        return None
    asked = [c for c in sampled_conditions(domain.conditions()) if c.stage == "original"]
    methods = [(c.name, c.method and c.method.to_dict()) for c in asked]
    return measure.samples_per_prompt, measure.sample_prompts, methods


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    flat = tensor.detach().cpu().contiguous()
    digest.update(f"{name} {flat.dtype} {tuple(flat.shape)}\n".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
