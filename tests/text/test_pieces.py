"""Pieces joined are the decoded text, for byte-level BPE and for SentencePiece-like tokenizers."""

from __future__ import annotations

import random

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from text.pieces import pieces, stream_pieces, word_start_mask

TEXT = "The cat sat, didn't it?\nA caf\u00e9 \u4f60\u597d \U0001f98a two  spaces.\n\n\tEnd"


def byte_level() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["The cat sat on the mat. " * 3 + TEXT[:30]], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Llama 2: a low line for a space, bytes for what is not in the vocabulary."""
    words = ["<unk>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    letters = sorted({c for c in TEXT if c.isascii() and c not in " \n\t"} | {"\u2581"})
    backend = Tokenizer(
        models.BPE(
            vocab={w: i for i, w in enumerate([*words, *letters, "\u2581c", "\u2581ca"])},
            merges=[("\u2581", "c"), ("\u2581c", "a")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens([AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like])
def test_pieces_join_to_the_decoded_text(make) -> None:
    tokenizer = make()
    ids = tokenizer(TEXT)["input_ids"]
    parts = pieces(tokenizer, ids)
    assert len(parts) == len(ids)
    assert "".join(parts) == tokenizer.decode(ids) == TEXT
    # Four bytes make the fox: three empty pieces, then the character.
    fox = parts.index("\U0001f98a")
    assert parts[fox - 3 : fox] == ["", "", ""]
    assert list(stream_pieces(tokenizer, iter(ids))) == parts


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like])
def test_pieces_join_for_any_ids(make) -> None:
    """Random ids are mostly broken characters, cut anywhere."""
    tokenizer = make()
    draw = random.Random(0)
    for _ in range(300):
        ids = draw.choices(range(len(tokenizer)), k=draw.randrange(1, 25))
        parts = pieces(tokenizer, ids)
        assert len(parts) == len(ids)
        assert "".join(parts) == tokenizer.decode(ids)
    assert pieces(tokenizer, []) == []


def test_text_that_ends_within_a_character_is_kept() -> None:
    tokenizer = byte_level()
    ids = tokenizer("cat \U0001f98a")["input_ids"][:-1]
    parts = pieces(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids) and parts[-1].endswith("\ufffd")


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like])
def test_word_starts_against_decoding(make) -> None:
    """Decoded after a letter, a word start shows white space first."""
    tokenizer = make()
    mask = word_start_mask(tokenizer, len(tokenizer) + 5)
    assert mask.shape == (len(tokenizer) + 5,) and not mask[-5:].any()
    letter = tokenizer.convert_tokens_to_ids("T")
    for token in range(len(tokenizer)):
        after = tokenizer.decode([letter, token])[1:]
        special = token in tokenizer.all_special_ids
        starts = special or after[:1] in {" ", "\n", "\t", "\r"}
        assert bool(mask[token]) == starts, tokenizer.convert_ids_to_tokens(token)
    assert 0 < int(mask.sum()) < len(tokenizer) // 2
