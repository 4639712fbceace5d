"""The chat template around prompts and training texts, with a tokenizer of one id per word."""

from __future__ import annotations

import pytest
from word_ids import document, numbers, tokenizer

from common.errors import UserError
from text.chat import ChatFrame, chat_frame
from text.sequences import Encoder, make_prompts, tokenize

# Words 100 and 101 open and close a turn, 102 stands for the user and 103 for the assistant.
TEMPLATE = (
    "{{ 'w90 ' }}{% for m in messages %}{{ 'w100 w102 ' + m['content'] + ' w101 ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'w100 w103' }}{% endif %}"
)
FRAME = ChatFrame(before=[90, 100, 102], after=[101, 100, 103])


def with_template(template: str | None = TEMPLATE) -> object:
    made = tokenizer(bos=True)
    made.chat_template = template
    return made


def test_the_frame_is_what_the_template_puts_around_a_text() -> None:
    made = with_template()
    assert chat_frame(made) == FRAME and FRAME.tokens == 6  # pyright: ignore
    ids = numbers(5, 0)
    words = " ".join(f"w{i}" for i in ids)
    rendered = made.apply_chat_template(  # pyright: ignore
        [{"role": "user", "content": words}], tokenize=False, add_generation_prompt=True
    )
    whole = made(rendered, add_special_tokens=False)["input_ids"]  # pyright: ignore
    assert whole == FRAME.around(ids, asked=5)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "a tokenizer with a chat template; got one without"),
        ("{{ messages[0]['content'] * 2 }}", "gives it 2 times"),
        ("{{ 'w7' }}", "gives it 0 times"),
        ("{{ messages[0]['content'] | lower }}", "gives it 0 times"),
        ("{{ raise_exception('no\nsystem prompt') }}", "one that fails"),
        ("{{ 1 / }}", "one that fails"),
    ],
)
def test_a_template_that_does_not_serve_is_told(template: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        chat_frame(with_template(template))  # pyright: ignore
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "--data.chat_template none" in str(caught.value)


def test_a_prompt_is_a_turn_and_its_reference_what_followed() -> None:
    texts = [numbers(12, 0), numbers(9, 1), numbers(10, 2)]
    documents = [document(str(n), ids) for n, ids in enumerate(texts)]
    prompts = make_prompts(
        documents,
        Encoder(with_template()),  # pyright: ignore
        name="x",
        prompt_tokens=4,
        new_tokens=6,
        frame=FRAME,
    )
    want = [[*FRAME.before, *text[:4], *FRAME.after] for text in (texts[0], texts[2])]
    assert prompts.ids_PC.tolist() == want
    assert [r.tolist() for r in prompts.references] == [texts[0][4:10], texts[2][4:10]]


def test_a_training_text_is_a_turn_and_its_answer() -> None:
    texts = [numbers(20, 0), numbers(13, 1)]
    documents = [document(str(n), ids) for n, ids in enumerate(texts)]
    options = {"length": 20, "frame": FRAME, "asked": 4}
    result = tokenize(documents, Encoder(with_template()), **options)  # pyright: ignore
    assert result.ids_NT.tolist() == [[*FRAME.before, *texts[0][:4], *FRAME.after, *texts[0][4:14]]]
    assert result.too_short == 1
    packed = tokenize(documents, Encoder(with_template()), packing=True, **options)  # pyright: ignore
    stream = [id for text in texts for id in (*FRAME.around(text, asked=4), 0)]
    assert packed.ids_NT.flatten().tolist() == stream[:40]
