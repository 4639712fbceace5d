"""What a tokenizer's chat template puts around a text, as token ids.

The template is rendered once, with a stand-in for the user's text, and cut where the stand-in is.
So a prompt in the template is the same 32 token ids of its document as without one, between what
the template puts before a user's words and what it puts after them, the marker of the assistant's
turn included; and every prompt of a set grows by the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from common.errors import UserError

_STAND_IN = "TEXT-OF-THE-USER"


@dataclass(frozen=True, kw_only=True)
class ChatFrame:
    """One user turn, up to where the assistant's answer begins.

    Attributes:
        before: ids from the beginning to the user's text, a system prompt of the template's too.
        after: ids from there to the beginning of the answer.
    """

    before: list[int]
    after: list[int]

    @property
    def tokens(self) -> int:
        """How many tokens the template adds."""
        return len(self.before) + len(self.after)

    def around(self, ids: Sequence[int], *, asked: int) -> list[int]:
        """A document as a conversation: its first `asked` tokens are the user's, the rest is the
        answer, which has no end of its own."""
        return [*self.before, *ids[:asked], *self.after, *ids[asked:]]


def chat_frame(tokenizer: PreTrainedTokenizerBase) -> ChatFrame:
    """What the tokenizer's template puts around a user's text.

    Raises:
        UserError: no template, or one that does not give a user's text back once and unchanged.
    """
    if not tokenizer.chat_template:
        raise UserError(
            expected="a tokenizer with a chat template",
            got="one without",
            fix="set --data.chat_template none, or take an instruct model",
        )
    message = {"role": "user", "content": _STAND_IN}
    try:
        rendered: Any = tokenizer.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise _unusable(f"one that fails ({error})".replace("\n", " ")[:200]) from error
    parts = rendered.split(_STAND_IN)
    if len(parts) != 2:
        raise _unusable(f"one that gives it {len(parts) - 1} times")
    before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
    return ChatFrame(before=before, after=after)


def _unusable(got: str) -> UserError:
    return UserError(
        expected="a chat template that takes one turn of a user and gives its text back once",
        got=got,
        fix="set --data.chat_template none, or mend chat_template.jinja in the model's folder",
    )
