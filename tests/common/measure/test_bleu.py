"""BLEU against sacrebleu, with token ids as words."""

from __future__ import annotations

import numpy as np
import pytest
from bleu_reference import sacrebleu_scores

from common.measure.bleu import References, dataset_bleu, self_bleu


def random_batch(seed: int, sequences: int, alphabet: int, low: int, high: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(alphabet, size=rng.integers(low, high)) for _ in range(sequences)]


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("alphabet", [2, 5, 30])
def test_dataset_bleu_against_sacrebleu(alphabet: int, n: int) -> None:
    training = random_batch(1, 12, alphabet, 4, 20)
    # From 1 token (fewer than n) to longer than any reference; the last has no known token.
    texts = [*random_batch(2, 20, alphabet + 2, 1, 30), np.array([99, 98, 97])]
    expected = sacrebleu_scores(texts, [training] * len(texts), n)
    assert expected[-1] == 0.0 and max(expected) > 0.1
    np.testing.assert_allclose(dataset_bleu(texts, training, n), expected, atol=1e-12)
    free = sacrebleu_scores(texts, [training] * len(texts), n, brevity_penalty=False)
    assert any(more > less for more, less in zip(free, expected, strict=True))
    ours = dataset_bleu(texts, training, n, brevity_penalty=False)
    np.testing.assert_allclose(ours, free, atol=1e-12)


@pytest.mark.parametrize(("tokens", "bound"), [(96, 0.189), (224, 0.867)])
def test_a_verbatim_part_of_a_longer_text_reaches_1_without_the_penalty_alone(
    tokens: int, bound: float
) -> None:
    training = [np.random.default_rng(seed).integers(500, size=256) for seed in range(4)]
    copy = training[2][20 : 20 + tokens]
    assert dataset_bleu([copy], training)[0] == pytest.approx(bound, abs=5e-4)
    np.testing.assert_allclose(dataset_bleu([copy], training, brevity_penalty=False), 1.0)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("alphabet", [2, 5, 30])
def test_self_bleu_against_sacrebleu(alphabet: int, n: int) -> None:
    texts = random_batch(3, 15, alphabet, 1, 25)
    texts += [texts[0].copy(), np.arange(40) % alphabet]  # a duplicate; a length of its own
    others = [texts[:i] + texts[i + 1 :] for i in range(len(texts))]
    expected = sacrebleu_scores(texts, others, n)
    np.testing.assert_allclose(self_bleu(texts, n), expected, atol=1e-12)


def test_self_bleu_of_identical_and_of_disjoint_texts() -> None:
    same = np.arange(10)
    np.testing.assert_allclose(self_bleu([same, same, same]), 1.0)
    np.testing.assert_array_equal(self_bleu([same, same + 100]), 0.0)
    with pytest.raises(ValueError, match="got 1, need 2"):
        self_bleu([same])


def test_closest_reference_is_the_shorter_on_a_tie() -> None:
    training, text = [np.arange(8), np.arange(12)], np.arange(10)
    # All n-grams match; against the reference of 12 there would be a penalty.
    np.testing.assert_allclose(dataset_bleu([text], training), 1.0)


def test_references_serve_many_batches_and_empty_texts_score_zero() -> None:
    training = random_batch(4, 10, 5, 5, 20)
    references = References(training, 3)
    for seed in (5, 6):
        texts = random_batch(seed, 4, 5, 1, 20)
        found = references.bleu(texts)
        np.testing.assert_array_equal(found.bleu_P, dataset_bleu(texts, training, 3))
        without = dataset_bleu(texts, training, 3, brevity_penalty=False)
        np.testing.assert_array_equal(found.without_penalty_P, without)
    empty = np.zeros(0, np.int64)
    found = references.bleu([empty, training[0]])
    assert found.bleu_P[0] == found.without_penalty_P[0] == 0.0
    assert self_bleu([empty, training[0]]).tolist() == [0.0, 0.0]
