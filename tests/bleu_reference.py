"""BLEU as sacrebleu computes it, with token ids as words."""

from __future__ import annotations

import numpy as np
from sacrebleu.metrics.bleu import BLEU


def sacrebleu_scores(
    texts: list[np.ndarray],
    references: list[list[np.ndarray]],
    n: int,
    *,
    brevity_penalty: bool = True,
) -> list[float]:
    def words(ids: np.ndarray) -> str:
        return " ".join(map(str, ids.tolist()))

    bleu = BLEU(
        tokenize="none",
        smooth_method="floor",
        smooth_value=0.1,
        max_ngram_order=n,
        effective_order=True,
    )
    found = [
        bleu.sentence_score(words(text), [words(one) for one in refs])
        for text, refs in zip(texts, references, strict=True)
    ]
    return [one.score / (100 if brevity_penalty else 100 * one.bp) for one in found]
