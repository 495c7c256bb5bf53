"""What the model sees of a conversation, and which of it is learnt."""

import copy
from typing import Any

import pytest

from labkit.data.messages import Message
from labkit.errors import LabkitError
from labkit.models.chat_templates import TEMPLATES
from labkit.train.chat import Chat, Refused, Seen
from tests.unit.tiny_decoder import TEMPLATE, tiny_tokenizer

FORGETFUL = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}{{ '(hm) ' if loop.last }}{{ m.content }}<|end|>\n"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""It writes a thought before the last answer alone, as Qwen 3's template does."""

THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' if loop.last }}"
    "{{ m.content }}<|end|>\n{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
"""As Qwen 3's: an empty thought before the last answer, asked for where none is wanted."""


def chat(template: str = TEMPLATE, max_tokens: int = 200) -> Chat:
    return Chat(tokenizer=tiny_tokenizer(), template=template, max_tokens=max_tokens)


def talk(*said: str, system: str = "") -> list[Message]:
    """Question, answer, question, answer …"""
    roles = ["user", "assistant"] * len(said)
    first = [Message(role="system", content=system)] if system else []
    return [*first, *(Message(role=r, content=c) for r, c in zip(roles, said, strict=False))]


def see(made: Chat, *said: str, row: int = 7, **more: Any) -> Seen:
    (found,) = made.see([talk(*said, **more)], [row])
    return found


def learnt(found: Seen) -> list[str]:
    return [found.text[start:end] for start, end in found.learnt_spans]


def decoded(made: Chat, found: Seen) -> str:
    """The tokens that are learnt, as text."""
    return made.tokenizer.decode(found.ids_T[found.learnt_T])


def test_the_answer_is_learnt_with_its_end_and_nothing_else():
    made = chat()
    found = see(made, "Why?", "So.", system="Be kind.")
    assert found.text == "<|system|>Be kind.<|user|>Why?<|assistant|>So.<|end|>"
    assert learnt(found) == ["So.<|end|>"] and decoded(made, found) == "So.<|end|>"
    assert (found.row, found.num_cut, found.num_learnt) == (7, 0, len("So.") + 1)
    assert found.cut_at == len(found.text)


@pytest.mark.parametrize("answer", ["好嘅，聽日見。", "مرحبا بالعالم", "👩‍⚕️ yes 🎉", "e\u0301té"])
def test_any_script_is_learnt_to_the_byte(answer: str):
    made = chat()
    found = see(made, "問題？ سؤال 🤔", answer)
    assert learnt(found) == [answer + "<|end|>"] and decoded(made, found) == answer + "<|end|>"


def test_many_conversations_are_seen_as_each_would_be(monkeypatch: pytest.MonkeyPatch):
    made = chat()
    talks = [talk(f"{n}?", str(n)) for n in range(5)]
    at_once = [found.text for found in made.see(talks, range(5))]
    monkeypatch.setattr("labkit.train.chat._AT_A_TIME", 2)
    found = made.see(talks, range(5))
    assert [one.text for one in found] == at_once and [one.row for one in found] == [0, 1, 2, 3, 4]
    assert made.see([], []) == []


def test_all_answers_of_a_conversation_are_learnt_in_one_example():
    made = chat()
    found = see(made, "One?", "1", "Two?", "2")
    assert learnt(found) == ["1<|end|>", "2<|end|>"]
    assert decoded(made, found) == "1<|end|>2<|end|>"


def test_where_the_template_writes_earlier_answers_otherwise_each_is_an_example():
    made = chat(FORGETFUL)
    first, second = made.see([talk("One?", "1", "Two?", "2")], [3])
    assert learnt(first) == ["(hm) 1<|end|>"]
    assert second.text.startswith("<|user|>One?<|assistant|>1<|end|>\n<|user|>Two?")
    assert learnt(second) == ["(hm) 2<|end|>"]  # not the line break behind it
    assert [first.row, second.row] == [3, 3]


def test_the_prompt_is_what_stands_before_the_answer_in_training():
    made = chat(TEMPLATES["plain"])
    found = see(made, "Why?", "So.")
    prompt = made.prompt(talk("Why?"))
    assert found.ids_T[: len(prompt)].tolist() == prompt
    assert not found.learnt_T[: len(prompt)].any() and found.learnt_T[len(prompt)]


def test_our_own_template_is_readable_and_ends_with_the_end_token():
    found = see(chat(TEMPLATES["plain"]), "Why?", "So.", system="Be kind.")
    assert found.text == "Be kind.\n\n### Question\nWhy?\n\n### Answer\nSo.<|end|>\n\n"
    assert learnt(found) == ["So.<|end|>"]


def test_our_own_template_begins_with_the_tokenizers_first_token_where_it_has_one():
    made = chat(TEMPLATES["plain"])
    made.tokenizer.bos_token = "<|system|>"
    found = see(made, "Why?", "So.")
    assert found.text.startswith("<|system|>### Question\nWhy?")
    assert made.tokenizer.decode(found.ids_T[:1]) == "<|system|>" and not found.learnt_T[0]
    assert learnt(found) == ["So.<|end|>"]


def test_an_empty_thought_behind_the_question_is_not_learnt():
    made = chat(THINKING)
    found = see(made, "Why?", "So.")
    assert found.text == "<|user|>Why?<|assistant|><think>\n\n</think>\n\nSo.<|end|>\n"
    assert learnt(found) == ["So.<|end|>"]
    assert made.tokenizer.decode(made.prompt(talk("Why?"))).endswith("</think>\n\n")


def test_a_question_fits_where_its_answer_would_begin_within_the_tokens():
    question = talk("Why?")
    size = len(chat().prompt(question))
    assert chat(max_tokens=size + 1).fits(question) and not chat(max_tokens=size).fits(question)


def test_what_is_cut_off_is_counted_and_that_it_was_to_be_learnt():
    found = see(chat(max_tokens=10), "Why?", "Because.")  # 6 tokens before the answer
    assert len(found.ids_T) == 6 + 8 + 1
    assert (found.num_cut, found.num_learnt, found.num_learnt_cut) == (5, 4, 5)
    assert found.text[: found.cut_at] == "<|user|>Why?<|assistant|>Beca"


def test_answers_stop_at_the_token_that_the_template_writes():
    made = chat()
    assert made.stop_ids([see(made, "Why?", "So.")]) == [made.tokenizer.eos_token_id]
    other = chat(TEMPLATE.replace("'<|end|>'", "'<|system|>'"))
    system = other.tokenizer.convert_tokens_to_ids("<|system|>")
    assert other.stop_ids([see(other, "Why?", "So.")]) == [other.tokenizer.eos_token_id, system]


@pytest.mark.parametrize("end", ["''", "'###'"])
def test_a_template_that_ends_no_answer_is_refused(end: str):
    made = chat(TEMPLATE.replace("'<|end|>'", end))
    with pytest.raises(LabkitError, match="would not learn where to stop"):
        made.stop_ids([see(made, "Why?", "So.")])


def test_our_own_template_needs_a_tokenizer_with_an_end_token():
    made = chat(TEMPLATES["plain"])
    made.tokenizer.eos_token = None
    with pytest.raises(LabkitError, match=r"end-of-text token \(it has none\)"):
        made.stop_ids([see(made, "Why?", "So.")])


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ raise_exception('No system here') }}", "Row 7: .* refuses it: No system here"),
        ("{% for m in %}", "Row 7: the chat template refuses it: Expected an expression"),
        ("{{ messages[9].content.x.y }}", "Row 7: the chat template refuses it"),
        ("{{ messages | tojson }}{% if add_generation_prompt %}A{% endif %}",
         "writes an answer otherwise than it asks for one"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_write_a_row_is_said_with_the_row(template: str, sentence: str):
    with pytest.raises(LabkitError, match=sentence):
        see(chat(template), "Why?", "So.")


def test_a_refusal_comes_whole_from_another_process():
    sent = copy.copy(Refused(7, "the chat template refuses it: No."))  # made as one that was sent
    assert str(sent) == "Row 7: the chat template refuses it: No." and sent.row == 7
    assert str(Refused(None, "It refuses.")) == "It refuses."


def test_a_templates_own_token_in_a_persons_text_is_found():
    made = chat()
    assert made.control_token(talk("Why?", "So.")) is None
    assert made.control_token(talk("Why?", "So.<|end|>Yes.")) == "<|end|>"
    made.tokenizer.backend_tokenizer.add_special_tokens(["<|end|>>"])
    longer = Chat(tokenizer=made.tokenizer, template=TEMPLATE, max_tokens=9)
    assert longer.control_token(talk("Why?", "So.<|end|>>")) == "<|end|>>"


def test_a_template_can_reach_nothing_of_the_machine():
    reach = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(LabkitError, match="refuses it"):
        see(chat(reach), "Why?", "So.")
