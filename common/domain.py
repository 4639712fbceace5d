"""The seam between the core and a modality.

Hyperfitting is the same act for every modality once data are token ids, so a domain only says how
raw data become ids and how generated ids are judged and shown. Everything else is core.

Shapes: N sequences, T tokens each, P prompts, C tokens of context, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from common.measure.intervals import Interval
from common.report.names import Reference
from common.report.presentation import Presentation
from common.tools.choices import Split

Stage = Literal["original", "early-stopped", "hyperfitted", "reference"]
Metrics = dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class PromptSet:
    """Held-out prefixes of one kind and length, with what really followed them.

    Attributes:
        name: key of this set in `metrics.json`, e.g. "fiction" or "fiction-256".
        ids_PC: (P, C) int64 prompt tokens; all prompts of a set have one length.
        references: P arrays of int64 ids, each `new_tokens` long: the true continuation.
        new_tokens: how many tokens to generate after the prompt.
        pooled: whether this set counts towards "all"; pooled sets share C and `new_tokens`.
    """

    name: str
    ids_PC: Tensor
    references: list[np.ndarray]
    new_tokens: int
    pooled: bool = True


@dataclass(frozen=True, kw_only=True)
class Generations:
    """What one condition produced for one prompt set.

    Attributes:
        condition: e.g. "hyperfitted-greedy".
        prompts: the prompt set these continue.
        continuations: P arrays of int64 ids, without the prompt and without padding.
    """

    condition: str
    prompts: PromptSet
    continuations: list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What only a modality can find out about generations.

    Attributes:
        metrics: its scores; may be empty.
        shown: what a person may look at, e.g. the images that the ids stand for. The core does not
            look into it: it hands it on to `Domain.present`, so that nothing is decoded twice.
    """

    metrics: Metrics = field(default_factory=dict)
    shown: Any = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way of continuing the prompts.

    Attributes:
        name: key in `metrics.json`.
        stage: which weights; "reference" takes the true continuation.
        method: how to decode, or None for references.
        blocked: whether the citation blocker is on.
    """

    name: str
    stage: Stage
    method: GenerationConfig | None
    blocked: bool = False


class Domain(Protocol):
    """What a modality hands to the core."""

    name: str
    model: PreTrainedModel
    # How many tokens at the end of a continuation the type-token ratio looks at, and its key.
    ttr_window: int
    ttr_name: str
    # The condition that others are compared with, and what the reader calls it.
    reference: Reference
    # Metrics that a short table shows.
    main_metrics: tuple[str, ...]
    # The first position of a sequence that training and validation predict, at least 1.
    first_target: int
    # For the citation blocker: which tokens begin a word; None where tokens are no parts of words.
    word_start_V: Tensor | None

    def sequences(self, split: Split) -> Tensor:
        """(N, T) int64 token ids of a split."""
        ...

    def prompts(self) -> list[PromptSet]:
        """Held-out prompt sets, in the order the report shows them."""
        ...

    def conditions(self) -> list[Condition]:
        """What to compare, in the order the report shows it; "original-greedy" and
        "hyperfitted-greedy", which the model card quotes, are among them."""
        ...

    def processors(self) -> list[LogitsProcessor]:
        """What always applies to the scores when generating; may be empty."""
        ...

    def judge(self, generated: Generations) -> Judgement:
        """What only this modality can find out; follows from `generated` alone, not from what was
        judged before."""
        ...

    def pieces(self, ids: np.ndarray) -> list[str]:
        """One printable piece per token; joined they are the decoded sequence."""
        ...

    def present(
        self,
        shown: Mapping[str, Sequence[Any]],
        by_position: Mapping[str, Mapping[str, Sequence[float]]],
        folder: Path,
    ) -> Presentation:
        """What to add to the report; may leave pictures in the run's folder.

        Args:
            shown: condition -> what `judge` showed of each prompt set.
            by_position: "original" and so on -> measure -> its mean at each token of the
                continuation.
            folder: of the run.
        """
        ...

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        """Write what `from_pretrained` loads (weights, tokeniser, neutral generation config)."""
        ...


def pool_prompts(sets: Iterable[PromptSet]) -> PromptSet:
    """All pooled prompt sets as one, named "all"."""
    pooled = [prompts for prompts in sets if prompts.pooled]
    assert pooled, "a domain has at least one pooled prompt set"
    return PromptSet(
        name="all",
        ids_PC=torch.cat([prompts.ids_PC for prompts in pooled]),
        references=[text for prompts in pooled for text in prompts.references],
        new_tokens=pooled[0].new_tokens,
    )


def pool(sets: list[Generations]) -> Generations:
    """All pooled prompt sets of one condition as one, named "all"."""
    pooled = [generated for generated in sets if generated.prompts.pooled]
    return Generations(
        condition=sets[0].condition,
        prompts=pool_prompts(generated.prompts for generated in pooled),
        continuations=[text for generated in pooled for text in generated.continuations],
    )
