"""Printable pieces of a token sequence, and which tokens begin a word.

One character may consist of several tokens (byte-level BPE, byte fallback), and some tokenizers
drop the space before the first word that they decode. So a token cannot be decoded alone: its piece
is its share of the text of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

# How vocabularies write leading white space: byte-level BPE (GPT-2) maps bytes to printable
# characters, SentencePiece writes a low line or, for bytes outside its vocabulary, <0xNN>.
WORD_STARTS = (" ", "\n", "\t", "\r", "\u0120", "\u010a", "\u0109", "\u010d", "\u2581")
BYTE_STARTS = ("<0x0A>", "<0x0D>", "<0x09>", "<0x20>")
INCOMPLETE = "\ufffd"


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> list[str]:
    """One piece per token; joined they are exactly `tokenizer.decode(ids)`.

    A token that does not complete a character has an empty piece. The token that completes it has
    the whole character.
    """
    ids = [int(token) for token in ids]
    parts = list(stream_pieces(tokenizer, ids))
    whole = _decode(tokenizer, ids)
    end = 0
    for n, part in enumerate(parts):
        if not whole.startswith(part, end):
            # With byte fallback a stray byte can change a character that was decoded before it.
            # Then one token gets all the remaining text.
            return [*parts[:n], whole[end:], *[""] * (len(parts) - n - 1)]
        end += len(part)
    return parts


def stream_pieces(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> Iterator[str]:
    """`pieces` one by one; each is yielded when the next token arrives, the last at the end."""
    window: list[int] = []  # the tokens of the last complete piece, and those after it
    given = 0  # how many tokens of `window` belong to that piece
    pending: str | None = None
    for token in ids:
        if pending is not None:
            yield pending
        window.append(int(token))
        before, after = _decode(tokenizer, window[:given]), _decode(tokenizer, window)
        if after.endswith(INCOMPLETE) or len(after) < len(before):
            pending = ""
        else:
            pending = after[len(before) :]
            window, given = window[given:], len(window) - given
    if pending is not None:
        # The end of the text: an incomplete character stays incomplete.
        rest = _decode(tokenizer, window)[len(_decode(tokenizer, window[:given])) :]
        yield pending + (rest if len(window) > given else "")


def word_start_mask(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> Tensor:
    """(V,) bool: tokens before which the current word is complete.

    True for tokens that begin with white space and for special tokens. False for ids that pad the
    model's vocabulary and have no token.
    """
    mask_V = torch.zeros(vocab_size, dtype=torch.bool)
    known = min(len(tokenizer), vocab_size)
    for token_id, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(known)))):
        mask_V[token_id] = token is not None and token.startswith((*WORD_STARTS, *BYTE_STARTS))
    mask_V[[i for i in tokenizer.all_special_ids if i < vocab_size]] = True
    return mask_V


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)  # a list only for a batch
    return text
