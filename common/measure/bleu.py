"""Sentence BLEU on token ids against very many references: Self-BLEU and dataset BLEU.

Self-BLEU (Zhu et al. 2018, "Texygen") scores each text of a set with all the others as
references: high means the texts resemble each other. Dataset BLEU scores each text with every
training sequence as a reference: high means that it consists of training n-grams. The usual tools
go through the references one by one. But BLEU needs only the largest count of an n-gram in any one
reference, which is a property of the n-gram, so one sort serves all references.

The brevity penalty, exp(1 - reference length / text length) for a text that is shorter, is an upper
bound of the score. In dataset BLEU the references are longer by construction: with references of
256 tokens a text of 96 tokens scores at most 0.189, and one of 224 at most 0.867, even if it is a
verbatim copy. So dataset BLEU is given both with the penalty, as the usual tools have it, and
without, where a copy scores 1. P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) reports a dataset
BLEU that rises by about 1 point of 100, and does not say whether the penalty is in it. This suite
compares the score with the penalty to P1. For texts of one length the two scores differ by a
constant factor: a rise by 1 point with the penalty is one by 5.3 points without it (96 of 256
tokens). Self-BLEU compares texts of one length, so it has no penalty.

Shapes: P texts, K different (n-gram, text) pairs, U different lengths of references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.tools.ngrams import Occurrences, index_ngrams

SMOOTHING = 0.1
DEFINITION = (
    "sentence BLEU on token ids, from 0 to 1; n-gram orders 1 to n with equal weights, n-gram "
    "counts clipped at the largest count in any one reference; an order without a match counts "
    f"{SMOOTHING} matches (Chen and Cherry 2014, method 1), a text shorter than n uses the orders "
    "it has, a text without any match scores 0; brevity penalty, unless left out, against the "
    "reference of closest length, the shorter on a tie: it bounds the score of a shorter text"
)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """BLEU of each text, both ways.

    Attributes:
        bleu_P: (P,) from 0 to the brevity penalty, which is below 1 for a text shorter than all
            references.
        without_penalty_P: (P,) from 0 to 1; 1 where all n-grams of a text stand in the references.
    """

    bleu_P: np.ndarray
    without_penalty_P: np.ndarray


class References:
    """The n-gram counts of the training sequences that dataset BLEU needs, computed once.

    Args:
        training: all sequences serve as references of every text.
        n: highest n-gram order.

    Raises:
        ValueError: no sequences.
    """

    def __init__(self, training: Sequence[np.ndarray], n: int = 4) -> None:
        self._index, occurrences = index_ngrams(training, n)
        self._lengths_U = np.unique(occurrences[0].totals_S)
        self._largest = []  # per order: for each id, its largest count in one sequence
        for size, found in zip(self._index.sizes, occurrences, strict=True):
            ids_K, _, counts_K = _pair_counts(found)
            largest = np.zeros(size, dtype=np.int64)
            np.maximum.at(largest, ids_K, counts_K)
            self._largest.append(largest)

    def bleu(self, texts: Sequence[np.ndarray]) -> Scores:
        """Dataset BLEU of each text; see `dataset_bleu`."""
        matches, totals = [], []
        for largest, found in zip(self._largest, self._index.occurrences(texts), strict=True):
            # Clipping: the count of an n-gram in a text is cut to its largest count in any one
            # reference. Id -1 is an n-gram that no reference has.
            ids_K, owner_K, counts_K = _pair_counts(found)
            known = ids_K >= 0
            clipped = np.minimum(counts_K[known], largest[ids_K[known]])
            matches.append(np.bincount(owner_K[known], clipped, len(texts)))
            totals.append(found.totals_S)
        lengths_P = totals[0]
        closest_P = _closest(_distances(lengths_P, self._lengths_U), self._lengths_U)
        precision_P = _precision(np.stack(matches), np.stack(totals))
        return Scores(
            bleu_P=_brevity(lengths_P, closest_P) * precision_P, without_penalty_P=precision_P
        )


def dataset_bleu(
    texts: Sequence[np.ndarray],
    training: Sequence[np.ndarray],
    n: int = 4,
    *,
    brevity_penalty: bool = True,
) -> np.ndarray:
    """BLEU-n of each text with all training sequences as references.

    `DEFINITION` says how BLEU is computed; it equals sacrebleu's `sentence_bleu` with
    smooth_method "floor" and smooth_value 0.1, divided by 100. Where the training sequences are
    longer than the texts the brevity penalty exp(1 - reference / length) is the same factor for
    all texts of a length, and the highest score they can have: compare only texts of one length.

    Args:
        texts: P arrays of token ids.
        training: the references.
        n: highest n-gram order.
        brevity_penalty: whether to apply the penalty.

    Returns:
        (P,) scores in [0, 1], with the penalty in [0, penalty]; use `References` to score several
        batches, or both ways.

    Raises:
        ValueError: no texts or no training sequences.
    """
    scores = References(training, n).bleu(texts)
    return scores.bleu_P if brevity_penalty else scores.without_penalty_P


def self_bleu(texts: Sequence[np.ndarray], n: int = 4) -> np.ndarray:
    """BLEU-n of each text with all other texts as references (Zhu et al. 2018).

    `DEFINITION` says how BLEU is computed. Every text has all P - 1 others as references. More
    texts give more references and so higher scores: compare only sets of equal size.

    Args:
        texts: P >= 2 arrays of token ids.
        n: highest n-gram order.

    Returns:
        (P,) scores in [0, 1].

    Raises:
        ValueError: fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError(f"Self-BLEU compares texts with each other; got {len(texts)}, need 2")
    matches, totals = [], []
    for found in index_ngrams(texts, n)[1]:
        ids_K, owner_K, counts_K = _pair_counts(found)
        # Clipping as in `References.bleu`, but a text is no reference of itself.
        clipped = np.minimum(counts_K, _largest_elsewhere(ids_K, counts_K))
        matches.append(np.bincount(owner_K, clipped, len(texts)))
        totals.append(found.totals_S)
    lengths_P = totals[0]
    lengths_U, kind_P, count_U = np.unique(lengths_P, return_inverse=True, return_counts=True)
    distances_PU = _distances(lengths_P, lengths_U)
    # A length that only the text itself has is not the length of one of its references.
    alone_P = count_U[kind_P] == 1
    distances_PU[alone_P, kind_P[alone_P]] = np.iinfo(np.int64).max
    closest_P = _closest(distances_PU, lengths_U)
    precision_P = _precision(np.stack(matches), np.stack(totals))
    return _brevity(lengths_P, closest_P) * precision_P


def _pair_counts(found: Occurrences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each n-gram stands in each text: ids, owners and counts, sorted by id."""
    texts = found.totals_S.size
    # id and owner in one int64, so that one sort groups equal pairs and orders them by id.
    pairs_K, counts_K = np.unique(found.ids_M * texts + found.owner_M, return_counts=True)
    return pairs_K // texts, pairs_K % texts, counts_K


def _largest_elsewhere(ids_K: np.ndarray, counts_K: np.ndarray) -> np.ndarray:
    """(K,) largest count of the n-gram in any other text, 0 if only one text has it.

    That is the n-gram's largest count, except for the text that holds it: there it is the second
    largest.
    """
    # By n-gram, then by count: the last entry of each n-gram has its largest count.
    order = np.lexsort((counts_K, ids_K))
    ids, counts = ids_K[order], counts_K[order]
    # (K,) place of that last entry, for every entry of the n-gram.
    top = np.searchsorted(ids, ids, side="right") - 1
    # The entry before it, if that belongs to the same n-gram.
    second = np.maximum(top - 1, 0)
    has_second = (top > 0) & (ids[second] == ids)
    # Only the text with the largest count needs the second; where two tie, the two are equal.
    elsewhere = np.where(np.arange(ids.size) == top, counts[second] * has_second, counts[top])
    # Back to the order of the arguments.
    result = np.empty_like(elsewhere)
    result[order] = elsewhere
    return result


def _distances(lengths_P: np.ndarray, lengths_U: np.ndarray) -> np.ndarray:
    """(P, U) difference between each text's length and each reference length."""
    return np.abs(lengths_U - lengths_P[:, None])


def _closest(distances_PU: np.ndarray, lengths_U: np.ndarray) -> np.ndarray:
    """(P,) the nearest reference length; lengths ascend, so a tie gives the shorter."""
    return lengths_U[distances_PU.argmin(axis=1)]


def _brevity(lengths_P: np.ndarray, closest_P: np.ndarray) -> np.ndarray:
    """(P,) the factor for texts that are shorter than their closest reference, else 1."""
    return np.exp(np.minimum(0.0, 1 - closest_P / np.maximum(lengths_P, 1)))


def _precision(matches: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """(P,) BLEU without its brevity penalty, the geometric mean of the clipped precisions, from
    matches and totals, both (orders, P). An empty text scores 0."""
    present = totals > 0
    # (orders, P) precisions. Orders of which a short text has no n-gram are left out of its mean.
    share = np.where(matches > 0, matches, SMOOTHING) / np.maximum(totals, 1)
    orders_P = np.maximum(present.sum(axis=0), 1)
    # Geometric mean as exp of the mean log.
    mean_log_P = np.where(present, np.log(share), 0.0).sum(axis=0) / orders_P
    return np.where(matches.sum(axis=0) > 0, np.exp(mean_log_P), 0.0)
