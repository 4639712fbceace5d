"""The interface between the core and a modality.

Once data are token ids, hyperfitting is the same procedure for every modality. So a domain only
says how raw data become ids, and how generated ids are judged and shown. The core does the rest.

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
    """Held-out prompts of one kind and length, with their true continuations.

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
    """What a modality itself measures on generations, beyond the token-level metrics of the core.

    Attributes:
        metrics: its scores; may be empty.
        shown: what the report can show, e.g. the decoded images. The core passes it on to
            `Domain.present` without reading it, so that nothing is decoded twice.
    """

    metrics: Metrics = field(default_factory=dict)
    shown: Any = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way of continuing the prompts.

    Attributes:
        name: key in `metrics.json`.
        stage: the weights that generate; "reference" generates nothing and takes the true
            continuations.
        method: how to decode; None for a reference.
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
    # The type-token ratio is measured on this many tokens at the end of a continuation, and this is
    # its key in `metrics.json`.
    ttr_window: int
    ttr_name: str
    # The condition that the others are compared with, and its name in the report.
    reference: Reference
    # The metrics in short tables: the terminal's and the model card's.
    main_metrics: tuple[str, ...]
    # The first position of a sequence that training and validation predict, at least 1.
    first_target: int
    # Which tokens begin a word, for the citation blocker; None where tokens are not parts of words.
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
        """Logits processors that every generation applies; may be empty."""
        ...

    def judge(self, generated: Generations) -> Judgement:
        """Measure one condition on one prompt set. The result depends on `generated` alone, not on
        earlier calls."""
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
        """What to add to the report; it may write pictures into `folder`.

        Args:
            shown: condition -> `Judgement.shown` of each prompt set.
            by_position: stage -> measure -> its mean at each token of the continuation.
            folder: the run's folder.
        """
        ...

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        """Write what `from_pretrained` loads (weights, tokeniser, neutral generation config), and
        the text `card` as the model card."""
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
