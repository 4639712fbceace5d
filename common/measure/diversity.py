"""Diversity of generated texts and their overlap with the training set, from token ids.

Only generated tokens are counted: no prompt, no padding. Each measure gives one value per text, so
that its mean has an interval over prompts; only distinct-n is a property of the whole set.

P1 is Carlsson et al., ICLR 2025 (arXiv 2412.04318); P2 is Li et al., ICML 2026 (arXiv 2605.22579).

Shapes: P texts (or prompts).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from common.measure.bleu import References, self_bleu
from common.measure.intervals import Interval, bootstrap_mean, jackknife, point
from common.measure.overlap import TrainingIndex
from common.tools.ngrams import distinct_per_sequence, index_ngrams

DISTINCT_ORDERS = (2, 3)
REPETITION_ORDERS = (2, 3, 4)
BLEU_ORDER = 4
LONG_OVERLAP_TOKENS = 10


def type_token_ratio(text: np.ndarray, window: int = 96) -> float:
    """Distinct tokens / tokens over the last `window` tokens (P1, section 4).

    A shorter text is measured over all its tokens. That favours it, because the ratio falls with
    length. An empty text has 0.
    """
    last = text[-window:]
    return np.unique(last).size / max(last.size, 1)


def repetition(text: np.ndarray, n: int) -> float:
    """rep-n: 1 - distinct n-grams / n-grams of one text (P2); 0 if it has no n-gram."""
    return float(_repetition_each([text], n)[0])


def _repetition_each(texts: Sequence[np.ndarray], n: int) -> np.ndarray:
    """(P,) rep-n of each text."""
    found = index_ngrams(texts, n)[1][n - 1]
    distinct_P = distinct_per_sequence(found)
    return np.where(found.totals_S > 0, 1 - distinct_P / np.maximum(found.totals_S, 1), 0.0)


def distinct_n(texts: Sequence[np.ndarray], n: int) -> float:
    """distinct-n of a set: different n-grams / n-grams over all texts; 0 without an n-gram.

    It falls as texts are added: compare only sets of equal size.

    Raises:
        ValueError: no texts.
    """
    return distinct_interval(texts, n).mean


def distinct_interval(texts: Sequence[np.ndarray], n: int) -> Interval:
    """`distinct_n` with a jackknife interval over texts (see `common.measure.intervals.jackknife`).

    Raises:
        ValueError: no texts.
    """
    index, occurrences = index_ngrams(texts, n)
    found, size = occurrences[n - 1], index.sizes[n - 1]
    pairs = np.unique(found.ids_M * len(texts) + found.owner_M)
    ids, owners = np.divmod(pairs, len(texts))
    holders = np.bincount(ids, minlength=size)
    # Without text i the set loses exactly the n-grams that no other text has.
    only_P = np.bincount(owners[holders[ids] == 1], minlength=len(texts))
    total = int(found.totals_S.sum())
    rest_P = (size - only_P) / np.maximum(total - found.totals_S, 1)
    return jackknife(size / max(total, 1), rest_P)


def compression_ratio(text: np.ndarray) -> float:
    """Raw bytes / deflated bytes of the ids: the higher, the more repetitive (0 if empty).

    The ids are written as little-endian uint32 and compressed by zlib at level 9 as a raw deflate
    stream (no header). Ids have unused high bytes, so even random ids compress: compare only texts
    of one vocabulary and one length. On ids, not characters, so that images can be measured too.
    """
    raw = text.astype("<u4").tobytes()
    deflate = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return len(raw) / len(deflate.compress(raw) + deflate.flush())


class TrainingStatistics:
    """Statistics of the training data for the measures of copying, computed once.

    Args:
        sequences: N arrays of int64 token ids.

    Attributes:
        overlap: finds the copied runs of a text.
        references: the training n-grams for dataset BLEU.

    Raises:
        ValueError: no sequences, or only empty ones.
    """

    def __init__(self, sequences: Sequence[np.ndarray]) -> None:
        self.overlap = TrainingIndex(sequences)
        self.references = References(sequences, BLEU_ORDER)


def diversity_metrics(
    texts: Sequence[np.ndarray],
    training: TrainingStatistics,
    *,
    window: int = 96,
    ttr_name: str = "ttr_96",
    seed: int = 0,
) -> dict[str, Interval]:
    """All diversity and copying measures of one set of continuations.

    Means have 95 % bootstrap intervals over texts; for Self-BLEU the references stay fixed.
    `distinct_*` has a jackknife interval, `overlap_max` none.

    Args:
        texts: P >= 2 arrays of generated int64 ids, without prompt and padding.
        training: built from the sequences the model was fine-tuned on.
        window: the type-token ratio is over this many tokens at the end of a text.
        ttr_name: key of that ratio.
        seed: of the bootstrap.

    Returns:
        The ratio under `ttr_name`; `rep_2`, `rep_3`, `rep_4`, `distinct_2`, `distinct_3`,
        `self_bleu_4`, `dataset_bleu_4`, `dataset_bleu_4_no_bp` (without the brevity penalty, see
        `common.measure.bleu`), `compression_ratio`; `overlap_tokens`, the mean over texts of the
        longest run in tokens that is also in one training sequence, `overlap_max`, the longest of
        all, and `overlap_over_10`, the share of texts whose longest run exceeds 10.

    Raises:
        ValueError: fewer than two texts.
    """
    longest_P = training.overlap.longest_each(texts)
    borrowed = training.references.bleu(texts)
    per_text: dict[str, np.ndarray | list[float]] = {
        ttr_name: [type_token_ratio(text, window) for text in texts],
        **{f"rep_{n}": _repetition_each(texts, n) for n in REPETITION_ORDERS},
        f"self_bleu_{BLEU_ORDER}": self_bleu(texts, BLEU_ORDER),
        f"dataset_bleu_{BLEU_ORDER}": borrowed.bleu_P,
        f"dataset_bleu_{BLEU_ORDER}_no_bp": borrowed.without_penalty_P,
        "compression_ratio": [compression_ratio(text) for text in texts],
        "overlap_tokens": longest_P,
        f"overlap_over_{LONG_OVERLAP_TOKENS}": longest_P > LONG_OVERLAP_TOKENS,
    }
    metrics = {name: bootstrap_mean(values, seed=seed) for name, values in per_text.items()}
    metrics |= {f"distinct_{n}": distinct_interval(texts, n) for n in DISTINCT_ORDERS}
    metrics["overlap_max"] = point(longest_P.max(), len(texts))
    return metrics


def across_metrics(sets: Sequence[Sequence[np.ndarray]], *, seed: int = 0) -> dict[str, Interval]:
    """Diversity among the samples of one prompt (Ruan et al., arXiv 2508.04117).

    Args:
        sets: P prompts, each with its K >= 2 sampled continuations as int64 ids. Compare only equal
            K: more samples repeat more.
        seed: of the bootstrap.

    Returns:
        Means over prompts with 95 % bootstrap intervals over them: `across_self_bleu_4`, BLEU of a
        sample against the others of its prompt, averaged over the samples, and
        `across_distinct_2`, `across_distinct_3`, distinct-n over the samples of a prompt.

    Raises:
        ValueError: no prompts, or fewer than two samples.
    """
    per_prompt = {
        f"across_self_bleu_{BLEU_ORDER}": [
            float(np.mean(self_bleu(texts, BLEU_ORDER))) for texts in sets
        ],
        **{
            f"across_distinct_{n}": [distinct_n(texts, n) for texts in sets]
            for n in DISTINCT_ORDERS
        },
    }
    return {name: bootstrap_mean(values, seed=seed) for name, values in per_prompt.items()}
