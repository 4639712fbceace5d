"""The token ids that a tokenizer's chat template puts before and after a user's text.

The template is rendered once, with a placeholder as the user's text, and split at the placeholder.
The second part includes the marker that begins the assistant's turn. A prompt in the template is
then the first part, the 32 tokens of the document that a plain prompt has too, and the second part.
So every prompt of a set grows by the same number of tokens.
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
        before: ids up to the user's text, including the template's system prompt if it has one.
        after: ids from the end of the user's text to the beginning of the answer.
    """

    before: list[int]
    after: list[int]

    @property
    def tokens(self) -> int:
        """How many tokens the template adds."""
        return len(self.before) + len(self.after)

    def around(self, ids: Sequence[int], *, asked: int) -> list[int]:
        """A document as a conversation: its first `asked` tokens are the user's turn, the rest is
        the answer. No end-of-turn token follows the answer."""
        return [*self.before, *ids[:asked], *self.after, *ids[asked:]]


def chat_frame(tokenizer: PreTrainedTokenizerBase) -> ChatFrame:
    """The ids that the tokenizer's template puts around a user's text.

    Raises:
        UserError: no template, or one whose output does not contain the user's text exactly once.
    """
    if not tokenizer.chat_template:
        raise UserError(
            expected="a tokenizer with a chat template",
            got="one without",
            fix="set --data.chat_template none, or choose an instruct model",
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
        raise _unusable(f"one whose output contains it {len(parts) - 1} times")
    before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
    return ChatFrame(before=before, after=after)


def _unusable(got: str) -> UserError:
    return UserError(
        expected="a chat template whose output contains the text of a user's turn exactly once",
        got=got,
        fix="set --data.chat_template none, or correct chat_template.jinja in the model's folder",
    )
