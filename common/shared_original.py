"""What names a measurement of the original model, so that runs can share it.

Runs over the same base model differ in how they train, and measure that model on the same prompts
each time. The name is a hash over everything the figures follow from: weights, prompts, true
continuations, decoding, seed, batch sizes, arithmetic, this package's own code and the versions of
the libraries that compute. So a name is never reused for other figures, and a folder of them needs
no care: what nobody asks for any more can be deleted.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from common.across_samples import sampled_conditions
from common.config import MeasureConfig
from common.domain import Domain
from common.record.provenance import provenance
from common.tools.device import Compute


def original_key(domain: Domain, measure: MeasureConfig, *, seed: int, compute: Compute) -> str:
    """Name of what a run measures on the original model; letters and digits.

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
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    for name, tensor in sorted(domain.model.state_dict().items()):
        _add(digest, name, tensor)
    for prompts in domain.prompts():
        _add(digest, prompts.name, prompts.ids_PC)
        for reference in prompts.references:
            _add(digest, "reference", torch.from_numpy(reference))
    if asked["blocker"] is not None:  # the blocker knows the training set
        _add(digest, "train", domain.sequences("train"))
    return f"original-{digest.hexdigest()}"


def _samples(domain: Domain, measure: MeasureConfig) -> Any:
    """What the diversity across samples follows from; None where it is not measured."""
    if measure.samples_per_prompt == 0:
        return None
    asked = [c for c in sampled_conditions(domain.conditions()) if c.stage == "original"]
    methods = [(c.name, c.method and c.method.to_dict()) for c in asked]
    return measure.samples_per_prompt, measure.sample_prompts, methods


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    flat = tensor.detach().cpu().contiguous()
    digest.update(f"{name} {flat.dtype} {tuple(flat.shape)}\n".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
