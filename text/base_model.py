"""A new tokenizer and a new small Llama, from which pretraining starts."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from common.errors import UserError
from common.model.small_llama import small_llama

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int, context: int
) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer; its end-of-text token is its only special one.

    Args:
        texts: to learn the merges from.
        vocab_size: includes the 256 bytes and the end-of-text token; with few texts the vocabulary
            may stay smaller.
        context: recorded as the tokenizer's `model_max_length`.

    Raises:
        UserError: `vocab_size` is too small for the bytes and the end-of-text token.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size <= len(alphabet):
        raise UserError(
            expected=f"vocab_size above {len(alphabet)}, the bytes",
            got=f"{vocab_size}",
            fix="raise --vocab_size",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=context,
    )


def new_model(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context: int,
) -> PreTrainedModel:
    """A Llama with random weights and tied embeddings, one row per token of the tokenizer.

    Raises:
        UserError: sizes that do not divide.
    """
    end = tokenizer.eos_token_id
    assert isinstance(end, int), end
    return small_llama(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        layers=layers,
        heads=heads,
        intermediate_size=intermediate_size,
        context=context,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
