"""The citation blocker against a search through the training sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import common.decode.blocker
from common.decode.blocker import CitationBlocker
from common.decode.generate import generate
from common.decode.methods import greedy_config, sampling_config
from common.errors import UserError

VOCABULARY = 6


def random_batch(seed: int, sequences: int, longest: int = 30) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(VOCABULARY - 1, size=rng.integers(1, longest)) for _ in range(sequences)]


def naive_blocked(
    generated: list[int], training: list[np.ndarray], match: int, word_start: np.ndarray
) -> set[int]:
    if len(generated) < match:
        return set()
    return {
        int(one[i + match])
        for one in training
        for i in range(len(one) - match)
        if one[i : i + match].tolist() == generated[-match:] and word_start[one[i + match]]
    }


@pytest.mark.parametrize("match", [1, 2, 3, 5])
@pytest.mark.parametrize("words", [False, True])
def test_against_a_search(match: int, words: bool) -> None:
    training = random_batch(match, 60)
    rng = np.random.default_rng(7)
    word_start = rng.random(VOCABULARY) < 0.5 if words else np.ones(VOCABULARY, bool)
    blocker = CitationBlocker(
        training, match, prompt_length=4, word_start_V=word_start if words else None
    )
    blocked_any = 0
    for length in range(4, 16):
        ids = torch.from_numpy(rng.integers(VOCABULARY - 1, size=(40, length)))
        scores = torch.randn(40, VOCABULARY)
        before = scores.clone()
        after = blocker(ids, scores)
        torch.testing.assert_close(scores, before, rtol=0, atol=0)
        for row in range(40):
            blocked = naive_blocked(ids[row, 4:].tolist(), training, match, word_start)
            blocked_any += len(blocked)
            for token in range(VOCABULARY):
                expected = -torch.inf if token in blocked else before[row, token]
                assert after[row, token] == expected
    assert blocked_any > 10


def test_prompt_and_padding_do_not_count() -> None:
    blocker = CitationBlocker([np.array([1, 2, 3, 4])], 2, prompt_length=3)
    ids, scores = torch.tensor([[0, 0, 1, 2]]), torch.zeros(1, VOCABULARY)
    assert (blocker(ids, scores) == 0).all()
    assert blocker.for_prompt_length(2)(ids, scores)[0, 3] == -torch.inf
    assert blocker.prompt_length == 3


def test_equal_hashes_never_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def sums(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = np.ones(grams.shape[1], np.int64)
        return weights, (grams * weights).sum(axis=1)

    monkeypatch.setattr(common.decode.blocker, "_distinct_hashes", sums)
    blocker = CitationBlocker([np.array([1, 4, 2])], 2, prompt_length=0)
    assert blocker(torch.tensor([[1, 4]]), torch.zeros(1, VOCABULARY))[0, 2] == -torch.inf
    for same_hash in ([4, 1], [2, 3]):
        assert (blocker(torch.tensor([same_hash]), torch.zeros(1, VOCABULARY)) == 0).all()


def test_weights_are_drawn_until_hashes_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([[1, 1], [1, 10]])

    class Unlucky:
        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            return np.array(next(draws))

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Unlucky())
    blocker = CitationBlocker([np.array([1, 4, 2]), np.array([4, 1, 3])], 2, prompt_length=0)
    after = blocker(torch.tensor([[1, 4], [4, 1]]), torch.zeros(2, VOCABULARY))
    assert torch.isinf(after).nonzero().tolist() == [[0, 2], [1, 3]]


def test_some_token_always_remains() -> None:
    training = [np.array([0, 0, token]) for token in range(VOCABULARY)]
    ids, scores = torch.zeros(1, 2, dtype=torch.int64), torch.randn(1, VOCABULARY)
    all_follow = CitationBlocker(training, 2, prompt_length=0)
    torch.testing.assert_close(all_follow(ids, scores), scores, rtol=0, atol=0)
    all_but_one = CitationBlocker(training[1:], 2, prompt_length=0)
    assert torch.isinf(all_but_one(ids, scores)).tolist() == [[False] + [True] * 5]


def test_nothing_to_block_when_no_follower_begins_a_word() -> None:
    none = np.zeros(VOCABULARY, bool)
    blocker = CitationBlocker([np.arange(4)], 2, prompt_length=0, word_start_V=none)
    scores = torch.randn(2, VOCABULARY)
    assert torch.equal(blocker(torch.tensor([[0, 1], [5, 5]]), scores), scores)


def test_sequences_that_are_too_short() -> None:
    with pytest.raises(UserError, match="sequences of at most 5 tokens"):
        CitationBlocker([np.arange(5), np.arange(3)], 5, prompt_length=0)


def test_generate_with_left_padding_never_recites() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=VOCABULARY - 1,
        eos_token_id=None,
        bos_token_id=None,
    )
    model: Any = LlamaForCausalLM(config).eval()
    prompts = torch.tensor([[5, 5, 1, 2], [1, 2, 3, 4]])
    mask = (prompts != VOCABULARY - 1).long()

    def generate(processors: list[CitationBlocker]) -> list[np.ndarray]:
        ids = model.generate(
            prompts,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=20,
            logits_processor=processors,
        )
        return list(ids[:, 4:].numpy())

    # What the model wants to say is the training set, so without a blocker all of it is citation.
    training = generate([])
    everything = np.ones(VOCABULARY, bool)
    for row in generate([CitationBlocker(training, 3, prompt_length=4)]):
        for end in range(3, 20):
            banned = naive_blocked(row[:end].tolist(), training, 3, everything)
            assert int(row[end]) not in banned
        assert not any(np.array_equal(row, one) for one in training)


def all_follow() -> CitationBlocker:
    """After 0, 1 the training set goes on with every token but 2."""
    followers = [token for token in range(VOCABULARY) if token != 2]
    return CitationBlocker([np.array([0, 1, token]) for token in followers], 2, prompt_length=0)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_row_where_no_token_would_remain_is_left_alone(seed: int | None) -> None:
    """Where another processor forbids what the blocker leaves, as one does a start token."""
    ids_BL = torch.tensor([[0, 1], [0, 1], [1, 0]])
    scores_BV = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1))
    scores_BV[0, 2] = scores_BV[2, 2] = -torch.inf
    after_BV = all_follow()(ids_BL, scores_BV)
    torch.testing.assert_close(after_BV[[0, 2]], scores_BV[[0, 2]], rtol=0, atol=0)
    assert after_BV[1].isfinite().tolist() == [token == 2 for token in range(VOCABULARY)]
    if seed is None:
        tokens_B = after_BV.argmax(dim=-1)
        assert tokens_B[0] == scores_BV[0].argmax()
    else:
        generator = torch.Generator().manual_seed(seed)
        tokens_B = torch.multinomial(after_BV.softmax(dim=-1), 1, generator=generator)[:, 0]
    assert tokens_B[0] != 2 and tokens_B[1] == 2


@pytest.mark.parametrize("method", [greedy_config(), sampling_config(top_k=0)])
def test_decoding_goes_on_where_everything_is_blocked(method: Any) -> None:
    """Greedy as if there were no blocker, sampled from what was not forbidden before it."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.5,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    every = [
        np.array([first, second, token])
        for first in range(VOCABULARY)
        for second in range(VOCABULARY)
        for token in range(VOCABULARY)
        if token != 2
    ]

    def forbid_two(_ids: Any, scores_BV: torch.Tensor) -> torch.Tensor:
        return scores_BV.index_fill(1, torch.tensor([2]), -torch.inf)

    def continued(*more: Any) -> list[list[int]]:
        ids_PC = torch.tensor([[0], [1], [3], [4]])
        texts = generate(
            model, ids_PC, new_tokens=12, method=method, seed=3, processors=[forbid_two, *more]
        )
        return [text.tolist() for text in texts]

    blocked = continued(CitationBlocker(every, 2, prompt_length=1))
    assert blocked == continued()
    assert not any(2 in text for text in blocked)
    assert len({token for text in blocked for token in text}) > 1
