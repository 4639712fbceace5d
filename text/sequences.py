"""From documents to token ids: training sequences, prompts, and the train/evaluation check.

The paper's protocol (P1 = arXiv 2412.04318, section 3) trains on the first 256 tokens of each
document, so a document is a sequence and nothing is packed unless asked for. Tokenizers are called
with their own default for special tokens, as in P1's released code: a Llama tokenizer puts its
beginning-of-sequence token before sequences and prompts alike; the embedded one has none. Inside a
chat template (`text.chat`) documents have no special tokens of their own: the template writes them.

Shapes: N sequences, T tokens each, P prompts, C tokens of context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from common.domain import PromptSet
from common.errors import UserError
from common.measure.overlap import TrainingIndex
from text.chat import ChatFrame
from text.corpus import Document

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """Training sequences and how they came about.

    Attributes:
        ids_NT: (N, T) int64.
        documents: the documents used; row n is `documents[n]` unless packed.
        too_short: how many documents had fewer than T tokens (0 when packed).
        total: how many documents were given.
    """

    ids_NT: Tensor
    documents: list[Document]
    too_short: int
    total: int


class Encoder:
    """Gives the token ids of documents, and encodes each of them once.

    A document of a run becomes a sequence, a prompt and a part of the check against the training
    texts. All of these read the same ids, so they are kept for as long as the encoder lives.

    Args:
        tokenizer: gives the ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        # By what the ids follow from and nothing else: the text, and whether with special tokens.
        self._known: dict[tuple[str, bool], list[int]] = {}

    def ids(self, documents: Sequence[Document], *, special_tokens: bool = True) -> list[list[int]]:
        """All token ids of every document; the lists are shared, so they must not be changed.

        Args:
            documents: any, also some that were encoded before.
            special_tokens: whether with the tokenizer's own special tokens.
        """
        keys = [(document.text, special_tokens) for document in documents]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if new:
            # verbose=False: sequences past the model's length are cut by the caller, no need to
            # warn.
            encoded = self.tokenizer(
                [text for text, _ in new], verbose=False, add_special_tokens=special_tokens
            )
            self._known |= zip(new, encoded["input_ids"], strict=True)
        return [self._known[key] for key in keys]


def tokenize(
    documents: Sequence[Document],
    encoder: Encoder,
    *,
    length: int = 256,
    packing: bool = False,
    at_least: int = 1,
    frame: ChatFrame | None = None,
    asked: int = 0,
) -> Tokenized:
    """Sequences of `length` tokens.

    By default the first `length` tokens of every document that has so many (P1, section 3).
    With `packing`, all documents are joined with the end-of-sequence token after each and cut
    into consecutive sequences; the last, incomplete one is dropped.

    Args:
        at_least: how many sequences the caller needs.
        frame: of a chat template; each document then becomes a conversation.
        asked: how many tokens of a document are the user's in it.

    Raises:
        UserError: fewer than `at_least` sequences, or packing without an end-of-sequence token.
    """
    rows = encoder.ids(documents, special_tokens=frame is None)
    if frame is not None:
        rows = [frame.around(row, asked=asked) for row in rows]
    long = [n for n, row in enumerate(rows) if len(row) >= length]
    if packing:
        end = encoder.tokenizer.eos_token_id
        if end is None:
            raise UserError(
                expected="a tokenizer with an end-of-sequence token, to pack documents",
                got="one without",
                fix="turn packing off",
            )
        stream = np.fromiter(chain.from_iterable((*row, end) for row in rows), np.int64)
        count = len(stream) // length
        ids_NT = torch.from_numpy(stream[: count * length].reshape(count, length))
    else:
        ids_NT = torch.tensor([rows[n][:length] for n in long], dtype=torch.int64)
    if len(ids_NT) < max(at_least, 1):
        raise UserError(
            expected=f"at least {max(at_least, 1)} sequences of {length} tokens",
            got=f"{len(ids_NT)} from {len(rows)} documents, of which {len(rows) - len(long)} are "
            "too short",
            fix="add documents, ask for fewer or shorter sequences"
            + ("" if packing else ", or turn packing on"),
        )
    return Tokenized(
        ids_NT=ids_NT,
        documents=list(documents) if packing else [documents[n] for n in long],
        too_short=0 if packing else len(rows) - len(long),
        total=len(rows),
    )


def select(items: Sequence[T], n: int, *, seed: int) -> list[T]:
    """`n` of the items, drawn without replacement.

    The draw for a smaller n is a prefix of the draw for a larger one, so that runs over the
    quantity of data are nested.

    Raises:
        UserError: there are fewer than n.
    """
    if n > len(items):
        raise UserError(
            expected=f"{n} documents", got=f"{len(items)}", fix="ask for fewer or add documents"
        )
    return [items[int(i)] for i in np.random.default_rng(seed).permutation(len(items))[:n]]


def make_prompts(
    documents: Sequence[Document],
    encoder: Encoder,
    *,
    name: str,
    prompt_tokens: int = 32,
    new_tokens: int = 96,
    pooled: bool = True,
    frame: ChatFrame | None = None,
) -> PromptSet:
    """Prompts from the first tokens of documents, with what really followed as reference.

    With the `frame` of a chat template a prompt is a user's turn of those tokens, and the reference
    still what followed them in the document: what a human wrote where the model answers.

    Documents shorter than `prompt_tokens + new_tokens` have no full reference and are left out:
    `len(documents) - len(result.references)` of them.

    Raises:
        UserError: no document is long enough.
    """
    total = prompt_tokens + new_tokens
    encoded = encoder.ids(documents, special_tokens=frame is None)
    rows = [row[:total] for row in encoded if len(row) >= total]
    if not rows:
        raise UserError(
            expected=f"a document of at least {total} tokens for the prompt set {name!r}",
            got=f"{len(documents)} documents, all shorter",
            fix="use longer documents or fewer new tokens",
        )
    given = [row[:prompt_tokens] for row in rows]
    if frame is not None:
        given = [frame.around(row, asked=prompt_tokens) for row in given]
    return PromptSet(
        name=name,
        ids_PC=torch.tensor(given, dtype=torch.int64),
        references=[np.array(row[prompt_tokens:], dtype=np.int64) for row in rows],
        new_tokens=new_tokens,
        pooled=pooled,
    )


def refuse_overlap(
    train: Sequence[Document],
    heldout: Sequence[Document],
    encoder: Encoder,
    *,
    run: int = 32,
) -> None:
    """Refuse evaluation texts that share `run` or more consecutive tokens with a training text.

    Whole documents are compared, not only the part that becomes a sequence. Two equal texts are
    refused at any length.

    Raises:
        UserError: names the first pair found and how many held-out documents are concerned.
    """
    by_text = {document.text: document for document in reversed(train)}
    train_rows = [np.asarray(row, dtype=np.int64) for row in encoder.ids(train)]
    heldout_rows = [np.asarray(row, dtype=np.int64) for row in encoder.ids(heldout)]
    longest = TrainingIndex(train_rows).longest_each(heldout_rows)
    shared = [n for n, held in enumerate(heldout) if longest[n] >= run or held.text in by_text]
    if not shared:
        return
    n = shared[0]
    held = heldout[n]
    learnt = by_text.get(held.text)
    if learnt is None:  # say which one; only here is it worth one index a document
        learnt = train[
            max(
                range(len(train)),
                key=lambda i: TrainingIndex([train_rows[i]]).longest(heldout_rows[n]),
            )
        ]
    raise UserError(
        expected="evaluation documents that share nothing with the training documents",
        got=f"{len(shared)} that do, the first {held.id!r} ({held.source}), which has "
        f"{longest[n]} tokens in a row in common with {learnt.id!r} ({learnt.source})",
        fix="take them out of one of the two",
    )
