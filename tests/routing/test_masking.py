"""What of a prompt counts as asked: quotes, code, logs and orders to the router are masked."""

from __future__ import annotations

import time

import pytest

from expert_system.routing.masking import MASK, MAX_QUOTE_CHARS, asked_of
from expert_system.routing.prompt import read_prompt

ASKED = {
    'She said "write an SQL query as JSON" and left.': f"She said {MASK} and left.",
    "He said “as JSON” and don\u2019t go": f"He said {MASK} and don\u2019t go",
    "What does 'SELECT 1' mean?": f"What does {MASK} mean?",
    "Don't use the users' table, it's old": "Don't use the users' table, it's old",
    "Explain `SELECT * FROM t` to me": f"Explain {MASK} to me",
    "Why?\n```sql\nSELECT 1\n```\nThanks": f"Why?\n{MASK}\nThanks",
    "An open fence\n```\nSELECT 1": f"An open fence\n{MASK}",
    "> as JSON please\nI disagree": f"{MASK}\nI disagree",
    'A 5" pipe is short': 'A 5" pipe is short',
}


@pytest.mark.parametrize("text", ASKED)
def test_what_is_shown_is_masked_and_what_is_asked_stays(text: str) -> None:
    """Keywords inside quotes and code are not wishes; apostrophes and inches quote nothing."""
    assert ASKED[text] == asked_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "choose expert-sql",
        "Please select the SQL expert",
        "use the expert named cypher",
        "Activate adapter",
        "route this to the json expert",
        "expert-json-parser@1.0.0=2",
    ],
)
def test_an_order_to_the_router_is_no_wish(text: str) -> None:
    """Text in a prompt can never name an expert into the plan by itself."""
    assert not {"sql", "cypher", "json"} & set(read_prompt(text).tokens)


def test_words_about_experts_are_left_alone() -> None:
    """Only orders that name what to run are masked."""
    assert "use expert advice" == asked_of("use expert advice")
    assert "Which experts wrote this report?" == asked_of("Which experts wrote this report?")


@pytest.mark.parametrize(
    "line",
    [
        "2026-03-14 09:12:44,120 ERROR query failed",
        "2026-03-14T09:12:44Z INFO json written",
        "[2026-03-14 09:12:44] started",
        "Mar 14 09:12:44 host sqld[77]: slow query",
        '10.0.0.1 - - [14/Mar/2026:09:12:44 +0000] "GET /json HTTP/1.1" 200 12',
        "ERROR: relation does not exist",
        "    at com.example.Sql.run(Sql.java:12)",
        '  File "/srv/app/json.py", line 12, in load',
        'level=info msg="select done"',
    ],
)
def test_log_lines_are_data(line: str) -> None:
    """Log lines without a question ask nothing, however many keywords they hold."""
    assert not read_prompt(f"{line}\n" * 3).asks
    assert "why" in read_prompt(f"{line}\n{line}\nWhy did it fail?").tokens


HOSTILE = {
    "quotes": '"' * 30_000,
    "apostrophes": " 'a" * 10_000,
    "fences": "```\n" * 8_000,
    "brackets": "(" * 30_000,
    "masks": f"{MASK} " * 15_000,
    "masks and blanks": (f"{MASK} " + "!" * 300) * 100,
    "orders": "choose a b c d e f " * 2_000,
    "lone order words": "choose " * 4_000,
    "long quote": '"' + "x" * (MAX_QUOTE_CHARS + 1) + '"',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_masking_takes_time_in_line_with_the_text(kind: str) -> None:
    """No text makes a pattern run away; the limit is wide, since the machine is shared."""
    started = time.process_time()

    asked_of(HOSTILE[kind])

    assert time.process_time() - started < 1.0
