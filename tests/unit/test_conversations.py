"""Conversations out of people's tables: what is taken, what is left out, and what is said."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from labkit.data.check_conversations import (
    check_conversations,
    check_test_conversations,
    guess_conversation_columns,
)
from labkit.data.conversations import (
    Columns,
    ConversationParts,
    Conversations,
    read_conversations,
)
from labkit.data.findings import Finding
from labkit.data.load import load_table

QA = Columns(question="question", answer="answer")
CHAT = Columns(question="question", answer="answer", messages="messages")
Write = Callable[..., Path]


def read(file: Path, columns: Columns = QA) -> tuple[Conversations, dict[str, tuple[int, ...]]]:
    found, findings = read_conversations(load_table(file), columns)
    return found, {finding.code: finding.rows for finding in findings}


def write_talks(folder: Path, *cells: object) -> Path:
    """A JSONL file with those values under 'messages'."""
    file = folder / "talks.jsonl"
    lines = [json.dumps({"messages": cell}, ensure_ascii=False) for cell in cells]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def codes(findings: Sequence[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def pairs(*asked: tuple[str, str]) -> Conversations:
    return Conversations(
        messages=[[said("user", q), said("assistant", a)] for q, a in asked],  # type: ignore[list-item]
        rows=range(2, 2 + len(asked)),
    )


def test_an_answer_before_any_question_is_left_out(tmp_path: Path):
    talk = [said("assistant", "Hello!"), said("user", "Open?"), said("assistant", "Yes.")]
    found, left_out = read(write_talks(tmp_path, talk, talk[1:]), CHAT)
    assert list(found.rows) == [2] and left_out == {"answer-first": (1,)}
    greeted, _ = read(write_talks(tmp_path, [said("system", "Be kind."), *talk]), CHAT)
    assert len(greeted) == 1


def test_half_of_a_sign_is_no_text(tmp_path: Path):
    file = tmp_path / "talks.jsonl"
    cells = ["\\\\ud83d", "\\\\ud83d\\\\ude00"]
    cell = (
        '[{{\\"role\\": \\"user\\", \\"content\\": \\"Open? {}\\"}}, '
        '{{\\"role\\": \\"assistant\\", \\"content\\": \\"Yes.\\"}}]'
    )
    file.write_text("".join(f'{{"messages": "{cell.format(one)}"}}\n' for one in cells))
    found, left_out = read(file, CHAT)
    assert found.messages[0][0]["content"] == "Open? 😀" and left_out == {"broken-messages": (1,)}


def test_a_question_and_an_answer_are_two_messages(write_csv: Write):
    file = write_csv("qa.csv", [("Open? ", " Till five.")], "question,answer")
    found, left_out = read(file)
    assert found.messages == [[said("user", "Open?"), said("assistant", "Till five.")]]
    assert list(found.rows) == [2] and not left_out


def test_what_a_question_is_about_stands_below_it(write_csv: Write):
    file = write_csv("a.csv", [("Sum up.", "Long text", "Short"), ("Hi", "", "Hello")], "i,about,o")
    found, _ = read(file, Columns(question="i", answer="o", input="about"))
    assert found.prompts == ["Sum up.\n\nLong text", "Hi"]


def test_rows_without_a_question_or_an_answer_are_left_out_with_their_numbers(write_csv: Write):
    rows = [("a", "b"), ("", "b"), ("a", " "), ("\u200b", "b"), ("c", "d")]
    found, left_out = read(write_csv("qa.csv", rows, "question,answer"))
    assert list(found.rows) == [2, 6]
    assert left_out == {"blank-question": (3, 5), "blank-answer": (4,)}


@pytest.mark.parametrize("text", ["好唔好呀？", "هل أنت مفتوح؟", "🙂👩‍⚕️", "a\u202eb"])
def test_any_script_is_kept_as_it_is(write_csv: Write, text: str):
    found, left_out = read(write_csv("qa.csv", [(text, text)], "question,answer"))
    assert found.prompts == found.answers == [text] and not left_out


def test_whole_conversations_are_read_from_json_lines(tmp_path: Path):
    talk = [said("system", "Be kind."), said("user", "Hi"), said("assistant", "Hello"),
            said("user", "Bye"), said("assistant", "See you")]  # fmt: skip
    found, left_out = read(write_talks(tmp_path, talk), CHAT)
    assert found.messages == [talk] and not left_out
    assert found.prompts == ["Be kind.\nHi"] and found.questions == ["Hi"]
    assert found.answers == ["Hello"]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("just text", "broken-messages"),
        ("[{", "broken-messages"),
        ("[" * 10_000, "broken-messages"),
        ([], "broken-messages"),
        ({"role": "user"}, "broken-messages"),
        ([{"role": "user", "content": 3}], "broken-messages"),
        (["hi"], "broken-messages"),
        ([said("user", "a"), said("robot", "b")], "unknown-role"),
        ([said("system", "a"), said("system", "b"), said("user", "c"), said("assistant", "d")],
         "system-not-first"),
        ([said("user", "c"), said("system", "a"), said("assistant", "d")], "system-not-first"),
        ([said("assistant", "d")], "blank-question"),
        ([said("user", "c")], "blank-answer"),
        ([said("user", "c"), said("assistant", "\n")], "blank-answer"),
    ],
)  # fmt: skip
def test_conversations_that_cannot_be_learnt_are_left_out_with_the_reason(
    tmp_path: Path, cell: object, code: str
):
    good = [said("user", "Hi"), said("assistant", "Hello")]
    found, left_out = read(write_talks(tmp_path, good, cell), CHAT)
    assert found.messages == [good] and left_out == {code: (2,)}


def test_json_lines_that_break_in_the_middle_cost_that_line_alone(tmp_path: Path):
    file = write_talks(tmp_path, *[[said("user", "Hi"), said("assistant", "Hello")]] * 3)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20], lines[2]]))
    table = load_table(file)
    assert codes(table.findings) == ["broken-json"] and table.findings[0].rows == (2,)
    assert list(read_conversations(table, CHAT)[0].rows) == [1, 3]


def test_a_system_message_is_put_before_those_that_have_none(tmp_path: Path):
    own = [said("system", "Mine."), said("user", "Hi"), said("assistant", "Hello")]
    columns = Columns(question="", answer="", messages="messages", system="Ours.")
    found, _ = read(write_talks(tmp_path, own, own[1:]), columns)
    assert [talk[0]["content"] for talk in found.messages] == ["Mine.", "Ours."]


def test_parts_come_back_from_a_run_folder_as_they_were(tmp_path: Path):
    part = pairs(("a", "b"), ("好", "唔好"))
    parts = ConversationParts(train=part, validation=part.take([1]), held_out=part.take([]))
    parts.save(tmp_path)
    back = ConversationParts.load(tmp_path)
    assert back.train.messages == part.messages and list(back.train.rows) == [2, 3]
    assert back.validation.prompts == ["好"] and len(back.held_out) == 0
    assert (tmp_path / "rows.parquet").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("header", "guess"),
    [
        ("id,Question,Answer", {"question": "Question", "answer": "Answer"}),
        ("instruction,input,output",
         {"question": "instruction", "input": "input", "answer": "output"}),
        ("問題,答案", {"question": "問題", "answer": "答案"}),
        ("messages,question", {"messages": "messages"}),
        ("a,b,c", {}),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_their_names(write_csv: Write, header: str, guess: dict[str, str]):
    row = tuple("x" * (header.count(",") + 1))
    table = load_table(write_csv("t.csv", [row], header))
    assert guess_conversation_columns(table) == guess


def many(count: int = 30) -> list[tuple[str, str]]:
    return [(f"What is {n}?", f"It is {n}.") for n in range(count)]


def test_a_good_table_has_no_findings():
    assert check_conversations(pairs(*many())) == []


def test_too_few_rows_forbid_the_run():
    (finding,) = check_conversations(pairs(*many(3)))
    assert finding.severity == "problem" and "3 usable rows" in finding.message


def test_swapped_columns_are_pointed_out():
    assert codes(check_conversations(pairs(*[(a, q) for q, a in many()]))) == ["columns-swapped"]


def test_questions_with_several_answers_and_repeated_rows_are_noted():
    found = check_conversations(
        pairs(*many(), ("What is 3?", "Three."), ("What  is 5?", "It is 5."))
    )
    assert codes(found) == ["several-answers", "duplicate-conversation"]
    assert found[0].rows == (5, 32) and found[1].rows == (33,)


def test_a_test_file_that_asks_the_same_is_pointed_out():
    found = check_test_conversations(pairs(*many()), pairs(("What is 3?", "x"), ("New?", "y")))
    assert codes(found) == ["question-in-both-files"] and found[0].rows == (2,)
    assert codes(check_test_conversations(pairs(*many()), pairs())) == ["empty-test"]
