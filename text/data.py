"""The corpora of one run: read, split, checked against each other and tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from common.domain import PromptSet
from common.errors import UserError
from text.config import HELDOUT, CorpusConfig, check_corpus_ranges
from text.corpus import Document, read_documents
from text.sequences import Tokenized, encode, make_prompts, refuse_overlap, select, tokenize

LEAST_LONG_PROMPTS = 8  # fewer long documents than this make no set of their own


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Tokenised corpora of one run.

    Attributes:
        train: the training sequences and the documents behind them.
        heldout: the same for validation and the probe.
        prompt_sets: in the order of the report.
    """

    train: Tokenized
    heldout: Tokenized
    prompt_sets: list[PromptSet]

    def longest(self) -> int:
        """The most tokens the model will see at once."""
        prompts = (s.ids_PC.shape[1] + s.new_tokens for s in self.prompt_sets)
        return max(self.train.ids_NT.shape[1], *prompts)

    def describe(self) -> list[str]:
        """A line for the sequences and one for every prompt set."""
        (count, length), train = self.train.ids_NT.shape, self.train
        return [
            f"training on {count} sequences of {length} tokens (of {train.total} documents "
            f"{train.too_short} are too short), {len(self.heldout.ids_NT)} held out",
            *(
                f"prompt set {prompts.name}: {len(prompts.references)} prompts of "
                f"{prompts.ids_PC.shape[1]} tokens, {prompts.new_tokens} new tokens"
                for prompts in self.prompt_sets
            ),
        ]


def load_data(config: CorpusConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> TextData:
    """Read, split, check and tokenise the corpora.

    Raises:
        UserError: an option out of range, a source that cannot be read, too few long documents,
            or a training text that is evaluated on as well.
    """
    check_corpus_ranges(config)
    train_documents, heldout_documents = _split(config)
    every = tokenize(
        train_documents,
        tokenizer,
        length=config.length,
        packing=config.packing,
        at_least=config.sequences,
    )
    rows = select(range(len(every.ids_NT)), config.sequences, seed=seed)
    train = Tokenized(
        ids_NT=every.ids_NT[rows],
        documents=every.documents if config.packing else [every.documents[row] for row in rows],
        too_short=every.too_short,
        total=every.total,
    )
    heldout = tokenize(heldout_documents, tokenizer, length=config.length, packing=config.packing)
    sets: list[PromptSet] = []
    evaluated = list(heldout_documents)
    for name, source in config.prompts.items():
        documents = heldout_documents
        if source != HELDOUT:
            documents = read_documents(source, field=config.field)
            evaluated += documents
        sets += _prompt_sets(name, documents, tokenizer, config)
    names = [prompts.name for prompts in sets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                expected="prompt sets of different names",
                got=f"{name!r} twice, once as the long set of another",
                fix="rename it in data.prompts",
            )
    refuse_overlap(train.documents, evaluated, tokenizer)
    return TextData(train=train, heldout=heldout, prompt_sets=sets)


def _split(config: CorpusConfig) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents; what is set aside does not depend on the seed."""
    sources = [read_documents(source, field=config.field) for source in config.train]
    if config.heldout is not None:
        heldout = [
            d for source in config.heldout for d in read_documents(source, field=config.field)
        ]
        return [document for source in sources for document in source], heldout
    share, rest = divmod(config.heldout_documents, len(sources))
    train: list[Document] = []
    aside: list[Document] = []
    for number, documents in enumerate(sources):
        count = share + (number < rest)
        if count >= len(documents):
            raise UserError(
                expected=f"more than {count} documents in {config.train[number]!r}, to set "
                f"{count} aside",
                got=f"{len(documents)}",
                fix="lower data.heldout_documents, or name data.heldout sources",
            )
        kept = len(documents) - count
        train += documents[:kept]
        aside += documents[kept:]
    return train, aside


def _prompt_sets(
    name: str,
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerBase,
    config: CorpusConfig,
) -> list[PromptSet]:
    """The pooled set and, where enough of its documents are long enough, the long one."""
    lengths = [len(row) for row in encode(documents, tokenizer)]
    short = config.prompt_tokens + config.new_tokens
    used = [n for n, length in enumerate(lengths) if length >= short][: config.max_prompts]
    sets = [
        make_prompts(
            # All of them where none is long enough: the error tells how many there were.
            [documents[n] for n in used] or documents,
            tokenizer,
            name=name,
            prompt_tokens=config.prompt_tokens,
            new_tokens=config.new_tokens,
        )
    ]
    if config.long_new_tokens is not None:
        total = config.prompt_tokens + config.long_new_tokens
        long = [documents[n] for n in used if lengths[n] >= total]
        if len(long) >= LEAST_LONG_PROMPTS:
            sets.append(
                make_prompts(
                    long,
                    tokenizer,
                    name=f"{name}-{total}",
                    prompt_tokens=config.prompt_tokens,
                    new_tokens=config.long_new_tokens,
                    pooled=False,
                )
            )
    return sets
