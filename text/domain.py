"""Text as a domain of the core: corpora become token ids, and token ids become readable text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from common.domain import Condition, Generations, Judgement, PromptSet
from common.report.presentation import Presentation
from common.tools.choices import Split
from text.config import DOMAIN, REFERENCE
from text.data import TextData
from text.pieces import pieces, word_start_mask
from text.save import save_model


class TextDomain:
    """What the core needs to hyperfit a causal language model.

    Args:
        model: the causal LM, dropout off.
        tokenizer: its tokenizer.
        data: from `load_data`.
        conditions: what to compare.
    """

    name, reference = DOMAIN, REFERENCE
    ttr_window, ttr_name = 96, "ttr_96"
    main_metrics: tuple[str, ...] = ("ttr_96", "rep_4", "overlap_over_10")
    first_target = 1

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        data: TextData,
        conditions: list[Condition],
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._data, self._conditions = data, conditions
        embedding = model.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding), type(embedding)
        self.word_start_V: Tensor | None = word_start_mask(tokenizer, embedding.num_embeddings)

    def sequences(self, split: Split) -> Tensor:
        """(N, T) int64 ids."""
        return (self._data.train if split == "train" else self._data.heldout).ids_NT

    def prompts(self) -> list[PromptSet]:
        """One pooled set per source, and the sets with longer continuations."""
        return self._data.prompt_sets

    def conditions(self) -> list[Condition]:
        """What to compare."""
        return self._conditions

    def processors(self) -> list[LogitsProcessor]:
        """None, since every token of the vocabulary may follow."""
        return []

    def judge(self, generated: Generations) -> Judgement:
        """No metrics beyond the token-level ones of the core."""
        return Judgement()

    def pieces(self, ids: np.ndarray) -> list[str]:
        """One piece of text per token."""
        return pieces(self.tokenizer, ids.tolist())

    def present(self, shown: object, by_position: object, folder: object) -> Presentation:
        """Add a remark on whether a chat template was used. The samples are texts, which the report
        shows by itself."""
        return Presentation(remarks=[self._data.chat])

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        """Write what `from_pretrained` loads."""
        save_model(model, self.tokenizer, folder, card=card)
