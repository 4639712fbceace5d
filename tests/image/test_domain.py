"""The image domain: what it judges and shows follows from what it is given, decoded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.domain import Generations
from common.tools.options import parse
from image.config import ImageRunConfig
from image.domain import ImageDomain
from image.prepare import prepare

REFERENCES = ("reconstruction", "real")


class Decodings:
    """The sets of codes that a domain's tokenizer has decoded."""

    def __init__(self, domain: ImageDomain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sets: list[Tensor] = []
        decode = domain.tokenizer.decode

        def counted(ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
            self.sets.append(ids_NL)
            return decode(ids_NL, batch_size=batch_size)

        monkeypatch.setattr(domain.tokenizer, "decode", counted)


@pytest.fixture(scope="module")
def load(tiny_image_checkpoint: Path, tiny_image_run: tuple[str, ...]) -> Callable[[], ImageDomain]:
    argv = ["--model", str(tiny_image_checkpoint), *tiny_image_run]
    ready = prepare(parse(ImageRunConfig, argv, prog="image.run", description=""))

    def fresh() -> ImageDomain:
        domain = ready.load()
        assert isinstance(domain, ImageDomain)
        return domain

    return fresh


def generations(domain: ImageDomain, condition: str, *, seed: int = 0) -> Generations:
    """The truth for a reference, and drawn codes for another condition."""
    (prompts,) = domain.prompts()
    drawn = np.random.default_rng(seed).integers(
        0, domain.tokenizer.vocab_size, (len(prompts.references), prompts.new_tokens)
    )
    truth = condition in REFERENCES
    return Generations(
        condition=condition,
        prompts=prompts,
        continuations=prompts.references if truth else list(drawn),
    )


def test_the_order_of_calls_does_not_matter(load: Callable[[], ImageDomain]) -> None:
    alone = load()
    asked = [
        ("hyperfitted-greedy", 1),
        ("hyperfitted-greedy", 2),  # the same name, other codes
        ("real", 0),
        ("other", 1),  # the same codes, another name
        ("reconstruction", 0),
    ]
    forwards, backwards = load(), load()
    first = [forwards.judge(generations(forwards, name, seed=s)) for name, s in asked]
    last = [backwards.judge(generations(backwards, name, seed=s)) for name, s in reversed(asked)]
    for one, other in zip(first, reversed(last), strict=True):
        assert one.metrics == other.metrics and torch.equal(one.shown, other.shown)
    assert first[0].metrics == first[3].metrics != first[1].metrics
    once = alone.judge(generations(alone, "hyperfitted-greedy", seed=2))
    assert once.metrics == first[1].metrics


def test_images_are_decoded_once(
    load: Callable[[], ImageDomain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = load()
    decodings = Decodings(domain, monkeypatch)
    names = [condition.name for condition in domain.conditions()]
    shown = {
        name: [domain.judge(generations(domain, name, seed=number)).shown]
        for number, name in enumerate(names)
    }
    # One set per condition; the two references are the same codes.
    assert set(REFERENCES) < set(names) and len(decodings.sets) == len(names) - 1
    assert torch.equal(shown["real"][0], domain._data.prompts_PCHW)
    assert not torch.equal(shown["reconstruction"][0], shown["real"][0])
    nothing = {"original": {"entropy_nats": [0.5] * domain.prompts()[0].new_tokens}}
    domain.present(shown, nothing, tmp_path)
    assert len(decodings.sets) == len(names) - 1
    assert (tmp_path / "pictures" / "real.png").is_file()
