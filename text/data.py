"""The corpora of one run: read, split, checked against each other and tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from transformers import PreTrainedTokenizerBase

from common.domain import PromptSet
from common.errors import UserError
from text.chat import ChatFrame, chat_frame
from text.config import HELDOUT, CorpusConfig, check_corpus
from text.corpus import Document, read_documents
from text.sequences import Encoder, Tokenized, make_prompts, refuse_overlap, select, tokenize

LEAST_LONG_PROMPTS = 8  # with fewer long documents there is no long prompt set


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Tokenised corpora of one run.

    Attributes:
        train: the training sequences and the documents that they come from.
        heldout: the same for validation and the probe.
        prompt_sets: in the order of the report.
        chat: how the tokenizer's chat template is used, as a sentence.
    """

    train: Tokenized
    heldout: Tokenized
    prompt_sets: list[PromptSet]
    chat: str

    def longest(self) -> int:
        """Length of the longest sequence that the model receives."""
        prompts = (s.ids_PC.shape[1] + s.new_tokens for s in self.prompt_sets)
        return max(self.train.ids_NT.shape[1], *prompts)

    def describe(self) -> list[str]:
        """A line for the sequences, one for every prompt set and one for the chat template."""
        (count, length), train = self.train.ids_NT.shape, self.train
        return [
            f"training on {count} sequences of {length} tokens (of {train.total} documents "
            f"{train.too_short} are too short), {len(self.heldout.ids_NT)} held out",
            *(
                f"prompt set {prompts.name}: {len(prompts.references)} prompts of "
                f"{prompts.ids_PC.shape[1]} tokens, {prompts.new_tokens} new tokens"
                for prompts in self.prompt_sets
            ),
            self.chat,
        ]


def load_data(config: CorpusConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> TextData:
    """Read, split, check and tokenise the corpora.

    Raises:
        UserError: an option out of range, a source that cannot be read, too few long documents,
            a training text among the evaluation texts, or a tokenizer without the chat template
            that the options ask for.
    """
    check_corpus(config)
    frame = None if config.chat_template == "none" else chat_frame(tokenizer)
    if frame is not None:
        _check_room(config, frame)
    encoder = Encoder(tokenizer)  # one for the run: a document has several uses
    as_sequences = partial(
        tokenize,
        encoder=encoder,
        length=config.length,
        packing=config.packing,
        frame=frame if config.chat_template == "all" else None,
        asked=config.prompt_tokens,
    )
    train_documents, heldout_documents = _split(config)
    every = as_sequences(train_documents, at_least=config.sequences)
    rows = select(range(len(every.ids_NT)), config.sequences, seed=seed)
    train = Tokenized(
        ids_NT=every.ids_NT[rows],
        documents=every.documents if config.packing else [every.documents[row] for row in rows],
        too_short=every.too_short,
        total=every.total,
    )
    heldout = as_sequences(heldout_documents)
    sets: list[PromptSet] = []
    evaluated = list(heldout_documents)
    for name, source in config.prompts.items():
        documents = heldout_documents
        if source != HELDOUT:
            documents = read_documents(source, field=config.field)
            evaluated += documents
        sets += _prompt_sets(name, documents, encoder, config, frame)
    names = [prompts.name for prompts in sets]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                expected="prompt sets of different names",
                got=f"{name!r} twice, once as the long set of another",
                fix="rename it in data.prompts",
            )
    refuse_overlap(train.documents, evaluated, encoder)
    return TextData(
        train=train,
        heldout=heldout,
        prompt_sets=sets,
        chat=_template_note(config.chat_template, frame),
    )


def _check_room(config: CorpusConfig, frame: ChatFrame) -> None:
    """Refuse training conversations that end before the answer begins."""
    least = frame.tokens + config.prompt_tokens + 1
    if config.chat_template == "all" and config.length < least:
        raise UserError(
            expected=f"data.length to be at least {least}: {frame.tokens} tokens of the chat "
            f"template, {config.prompt_tokens} of the prompt and some to learn",
            got=f"{config.length}",
            fix="set data.length, or --data.chat_template prompts",
        )


def _template_note(used: str, frame: ChatFrame | None) -> str:
    """How the chat template is used, for the terminal and the report."""
    if frame is None:
        return "Prompts and training texts are plain text, without a chat template."
    what = "Prompts and training texts stand" if used == "all" else "Prompts stand"
    rest = "" if used == "all" else "; training texts are plain"
    return f"{what} in the model's chat template ({frame.tokens} tokens around each){rest}."


def _split(config: CorpusConfig) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents; the seed does not change which are held out."""
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
    encoder: Encoder,
    config: CorpusConfig,
    frame: ChatFrame | None,
) -> list[PromptSet]:
    """The pooled set and, where enough of its documents are long enough, the long one."""
    lengths = [len(row) for row in encoder.ids(documents, special_tokens=frame is None)]
    short = config.prompt_tokens + config.new_tokens
    used = [n for n, length in enumerate(lengths) if length >= short][: config.max_prompts]
    sets = [
        make_prompts(
            # All of them where none is long enough, so that the error reports how many there were.
            [documents[n] for n in used] or documents,
            encoder,
            name=name,
            prompt_tokens=config.prompt_tokens,
            new_tokens=config.new_tokens,
            frame=frame,
        )
    ]
    if config.long_new_tokens is not None:
        total = config.prompt_tokens + config.long_new_tokens
        long = [documents[n] for n in used if lengths[n] >= total]
        if len(long) >= LEAST_LONG_PROMPTS:
            sets.append(
                make_prompts(
                    long,
                    encoder,
                    name=f"{name}-{total}",
                    prompt_tokens=config.prompt_tokens,
                    new_tokens=config.long_new_tokens,
                    pooled=False,
                    frame=frame,
                )
            )
    return sets
