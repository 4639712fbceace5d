"""Training sequences, prompts and the overlap check, with a tokenizer of one id per word."""

from __future__ import annotations

import numpy as np
import pytest
from word_ids import BOS, EOS, document, numbers, tokenizer

from common.errors import UserError
from text.sequences import Encoder, make_prompts, refuse_overlap, select, tokenize


def encoder(**options: bool) -> Encoder:
    return Encoder(tokenizer(**options))


def test_first_tokens_of_every_long_document() -> None:
    texts = [numbers(30, 0), numbers(19, 1), numbers(20, 2)]
    documents = [document(str(n), ids) for n, ids in enumerate(texts)]
    result = tokenize(documents, encoder(), length=20)
    assert result.ids_NT.tolist() == [texts[0][:20], texts[2]]
    assert str(result.ids_NT.dtype) == "torch.int64"
    assert result.documents == [documents[0], documents[2]]
    assert (result.too_short, result.total) == (1, 3)


def test_packing_joins_with_the_end_token_and_drops_the_tail() -> None:
    texts = [numbers(5, 0), numbers(3, 1), numbers(9, 2)]
    documents = [document(str(n), ids) for n, ids in enumerate(texts)]
    result = tokenize(documents, encoder(), length=6, packing=True)
    stream = [*texts[0], EOS, *texts[1], EOS, *texts[2], EOS]
    assert result.ids_NT.tolist() == [stream[0:6], stream[6:12], stream[12:18]]
    assert (result.documents, result.too_short, result.total) == (documents, 0, 3)
    assert len(tokenize(documents, encoder(), length=7, packing=True).ids_NT) == 2
    with pytest.raises(UserError, match="end-of-sequence"):
        tokenize(documents, encoder(eos=False), length=6, packing=True)


def test_special_tokens_are_the_tokenizers_own() -> None:
    documents = [document("a", numbers(9, 0))]
    assert tokenize(documents, encoder(bos=True), length=10).ids_NT[0, 0] == BOS
    prompts = make_prompts(documents, encoder(bos=True), name="x", prompt_tokens=4, new_tokens=6)
    assert prompts.ids_PC[0].tolist() == [BOS, *numbers(9, 0)[:3]]


@pytest.mark.parametrize("packing", [True, False])
def test_too_few_sequences_are_counted(packing: bool) -> None:
    documents = [document("a", numbers(30, 0)), document("b", numbers(4, 1))]
    with pytest.raises(UserError) as caught:
        tokenize(documents, encoder(), length=20, at_least=3, packing=packing)
    assert "at least 3 sequences of 20 tokens; got 1 from 2 documents" in str(caught.value)
    assert "1 are too short" in str(caught.value)
    with pytest.raises(UserError, match="got 0 from 0 documents"):
        tokenize([], encoder(), length=20, packing=packing)


def test_select_is_seeded_nested_and_without_repeats() -> None:
    items = list(range(50))
    drawn = select(items, 20, seed=3)
    assert drawn == select(items, 20, seed=3) and len(set(drawn)) == 20
    assert drawn[:8] == select(items, 8, seed=3)
    assert drawn != select(items, 20, seed=4)
    assert sorted(select(items, 50, seed=3)) == items
    with pytest.raises(UserError, match="expected 51 documents; got 50"):
        select(items, 51, seed=0)


def test_prompts_have_their_true_continuations() -> None:
    texts = [numbers(12, 0), numbers(9, 1), numbers(10, 2)]
    documents = [document(str(n), ids) for n, ids in enumerate(texts)]
    prompts = make_prompts(
        documents, encoder(), name="news", prompt_tokens=4, new_tokens=6, pooled=False
    )
    assert prompts.ids_PC.tolist() == [texts[0][:4], texts[2][:4]]
    assert [r.tolist() for r in prompts.references] == [texts[0][4:10], texts[2][4:10]]
    assert prompts.references[0].dtype == np.int64
    assert (prompts.name, prompts.new_tokens, prompts.pooled) == ("news", 6, False)
    with pytest.raises(UserError, match="at least 40 tokens for the prompt set 'news'"):
        make_prompts(documents, encoder(), name="news", prompt_tokens=4, new_tokens=36)


def test_a_shared_run_is_refused_and_both_documents_named() -> None:
    train = [document(f"t{n}", numbers(90, n)) for n in range(4)]
    run = numbers(90, 2)[50:82]
    heldout = [
        document("clean", numbers(80, 10)),
        document("almost", [*numbers(20, 11), *run[:31], *numbers(20, 12)]),
        document("copied", [*numbers(20, 13), *run, *numbers(20, 14)]),
    ]
    refuse_overlap(train, heldout[:2], encoder())
    with pytest.raises(UserError) as caught:
        refuse_overlap(train, heldout, encoder())
    message = str(caught.value)
    assert "1 that do, the first 'copied' (copied.txt)" in message
    assert "32 tokens in a row in common with 't2' (t2.txt)" in message
    refuse_overlap(train, heldout, encoder(), run=33)
    with pytest.raises(UserError, match="2 that do, the first 'almost'"):
        refuse_overlap(train, heldout, encoder(), run=31)


def test_equal_texts_are_refused_however_short() -> None:
    train = [document("a", numbers(90, 0)), document("b", numbers(5, 1))]
    with pytest.raises(UserError, match="'same' .* 5 tokens in a row in common with 'b'"):
        refuse_overlap(train, [document("same", numbers(5, 1))], encoder())


def test_a_run_over_the_border_of_two_training_documents_is_none() -> None:
    train = [document("a", numbers(40, 0)), document("b", numbers(40, 1))]
    refuse_overlap(train, [document("c", numbers(40, 0)[20:] + numbers(40, 1)[:20])], encoder())
