"""`expert-cli validate` over a real gRPC server with the shipped fake engine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expert_system.cli.asking import ask_all
from expert_system.cli.connect import Place
from expert_system.cli.validate import _validate, installed, subject_of
from expert_system.client import AsyncClient
from expert_system.domain import GrammarType
from expert_system.errors import ConfigError, ExpertSystemError, PackageError
from expert_system.package.check import check_proven
from expert_system.package.manifest import read_manifest
from expert_system.testing.engine import FakeEngine
from expert_system.testing.expert import make_base, make_expert
from expert_system.training.answers import ANSWERS_FILE, AnswerBook, Question, Reply
from expert_system.training.held_out import held_out
from expert_system.training.validate import judge, plan

RIGHT = '{"name": "Ada"}'
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CASES = 6


def line(prompt: str, answer: str = RIGHT, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "answer": answer, **more}


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def expert(home: Path, tmp_path: Path) -> Path:
    """An expert's folder with six cases and one worked example."""
    folder = make_expert(tmp_path / "expert", make_base(home / "bases" / "tiny"), name="expert-new", proven=False)
    cases = [line(f"question {n}", schema=SCHEMA, tags=[f"half:{n % 2}"]) for n in range(CASES)]
    write(folder / "tests" / "cases.jsonl", *cases)
    write(folder / "tests" / "shots.jsonl", line("an example", schema=SCHEMA))
    return folder


@pytest.fixture
def engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine that answers rightly with an expert, in prose without one."""
    words = engine._words

    def answered(request: Any) -> Any:
        engine._answer = RIGHT if request.expert_set else "I do not know"
        return words(request)

    monkeypatch.setattr(engine, "_words", answered)
    return engine


def printed(text: str) -> Any:
    """The JSON on stdout, among the log lines of the server in this process."""
    return json.loads(text[text.index("{\n") : text.rindex("\n}") + 2])


@pytest.fixture
async def target(start: Any) -> Any:
    async with start() as server:
        yield server.target


async def run(target: str, folder: Path | str, **options: Any) -> None:
    given = {"cases": None, "grammar": False, "quote": False, "max_tokens": 20, "out": None, "as_json": True, **options}
    await _validate(str(folder), Place(server=target), **given)


async def test_figures_are_written_and_prove_the_expert(target: str, expert: Path, capsys: Any) -> None:
    """formats.md 1.9: evaluation.json, the plot and quality_metrics come from one run and are bound to the weights."""
    await run(target, expert)

    manifest = read_manifest(expert)
    (evaluation,) = manifest.quality_metrics
    report = json.loads((expert / "evaluation.json").read_text())
    check_proven(expert, manifest)
    assert printed(capsys.readouterr().out) == report
    assert (CASES, "exact", 1.0) == (evaluation.held_out_examples, evaluation.primary, evaluation.gain.value)
    assert evaluation.model_dump(mode="json", exclude_none=True).items() <= report.items()
    assert {"examples": 3, "base": 0.0, "few_shot": 0.0, "expert": 1.0, "expert_interval": [1.0, 1.0]} == (
        report["by_category"]["half:0"]
    )
    assert (expert / "evaluation.png").read_bytes().startswith(b"\x89PNG")


async def test_the_base_is_asked_plainly_and_after_worked_examples(
    target: str, expert: Path, engine: FakeEngine
) -> None:
    """The expert and the base get the same question; only the few-shot base sees examples."""
    await run(target, expert)

    prompts = [(request.expert_set is not None, bytes(request.token_ids).decode()) for request in engine.seen]
    first = "user: question 0\n"
    shown = f"user: an example\nassistant: {RIGHT}\n{first}"
    assert sorted([(False, first), (False, shown), (True, first)]) == sorted(p for p in prompts if p[1].endswith(first))
    assert 3 * CASES == len(prompts)


async def test_the_grammar_column_holds_the_expert_to_each_schema(
    target: str, expert: Path, engine: FakeEngine
) -> None:
    """--grammar sends the case's schema through structured outputs, and measures that apart."""
    await run(target, expert, grammar=True)

    sent = [request.sampling.grammar for request in engine.seen if request.sampling.grammar is not None]
    assert [SCHEMA] * CASES == [json.loads(grammar.source) for grammar in sent]
    (evaluation,) = read_manifest(expert).quality_metrics
    assert [1.0] * 5 == [m.expert_with_grammar.value for m in evaluation.measures if m.expert_with_grammar]


async def test_the_grammar_column_holds_the_expert_to_the_words_of_the_request(
    target: str, expert: Path, engine: FakeEngine
) -> None:
    """--quote sends a grammar of the case's schema whose strings are runs of the request's words."""
    await run(target, expert, quote=True)

    sent = [request.sampling.grammar for request in engine.seen if request.sampling.grammar is not None]
    assert {GrammarType.EBNF} == {grammar.type for grammar in sent}
    assert CASES == len(sent)
    assert all('"question" (" " w1)?' in grammar.source for grammar in sent)
    assert "quotes" == json.loads((expert / "evaluation.json").read_text())["grammar"]


async def test_a_run_that_was_cut_off_asks_only_what_is_missing(
    target: str, expert: Path, engine: FakeEngine, tmp_path: Path
) -> None:
    """Answers are appended as they come; half a line from a kill is cut off and asked again."""
    out = tmp_path / "out"
    await run(target, expert, out=out)
    file = out / ANSWERS_FILE
    whole = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(whole[:-2]) + whole[-2][:40])
    engine.seen.clear()

    await run(target, expert, out=out)

    assert 2 == len(engine.seen)
    again = file.read_bytes().splitlines(keepends=True)
    # Answers come in the order in which they end, so only the whole is the same.
    assert sorted(json.loads(line)["key"] for line in whole) == sorted(json.loads(line)["key"] for line in again)


async def test_new_figures_or_texts_do_not_ask_again(target: str, expert: Path, engine: FakeEngine) -> None:
    """The key is what decides an answer: weights and decoding, not the digest of a package with another README."""
    await run(target, expert)
    (expert / "README.md").write_text("# measured\n")
    engine.seen.clear()

    await run(target, expert)

    assert [] == engine.seen


async def test_other_weights_are_asked_again(target: str, expert: Path, home: Path, engine: FakeEngine) -> None:
    """An answer belongs to the weights that gave it; the base's answers stay."""
    await run(target, expert)
    cases = (expert / "tests" / "cases.jsonl").read_bytes()
    make_expert(expert, make_base(home / "bases" / "tiny"), name="expert-new", proven=False, seed=5)
    (expert / "tests" / "cases.jsonl").write_bytes(cases)
    engine.seen.clear()

    await run(target, expert)

    assert [True] * CASES == [request.expert_set is not None for request in engine.seen]


async def test_a_refused_request_counts_as_wrong_and_is_told(target: str, expert: Path, capsys: Any) -> None:
    """A prompt that does not fit the context is the expert's failure; nothing is left out of the mean."""
    rows = [line(f"question {n}", schema=SCHEMA) for n in range(3)] + [line("x" * 5000, schema=SCHEMA)]
    write(expert / "tests" / "cases.jsonl", *rows)

    await run(target, expert)

    seen = capsys.readouterr()
    report = printed(seen.out)
    assert {"base": 1, "few_shot": 1, "expert": 1} == report["refused_requests"]
    assert 0.75 == next(m for m in report["measures"] if m["name"] == "exact")["expert"]["value"]
    assert "3 requests were refused" in seen.err


async def test_a_dying_engine_ends_the_run_and_keeps_the_answers(
    target: str, expert: Path, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No figures from a part of the cases: exit with the error, and go on later."""
    monkeypatch.setattr("expert_system.cli.asking.MAX_TRIES", 1)
    monkeypatch.setattr("expert_system.cli.asking.CONCURRENT", 1)
    words = engine._words

    def dying(request: Any) -> Any:
        if len(engine.seen) == 4:
            engine.die()
        return words(request)

    monkeypatch.setattr(engine, "_words", dying)
    with pytest.raises(ExpertSystemError, match="died"):
        await run(target, expert, out=tmp_path / "out")

    assert 3 == len((tmp_path / "out" / ANSWERS_FILE).read_text().splitlines())
    assert () == read_manifest(expert).quality_metrics


async def test_another_package_under_the_same_name_is_refused(target: str, expert: Path, tmp_path: Path) -> None:
    """What answers has to be what is measured."""
    async with AsyncClient(target) as client:
        stored, _ = installed(str(expert))
        subject = subject_of(stored, await client.experts())
        asked = plan(held_out(expert), subject, max_tokens=20, held_to=None)["expert"]
        (expert / "README.md").write_text("# another\n")
        installed(str(expert))
        with AnswerBook(tmp_path / "out") as book, pytest.raises(ConfigError, match="not what is measured"):
            await ask_all(client, asked, book, whom="expert")


async def test_an_installed_expert_is_measured_and_not_touched(target: str, expert: Path, tmp_path: Path) -> None:
    """By name: the report is written, the store is not."""
    stored, _ = installed(str(expert))
    before = {path: path.read_bytes() for path in stored.path.rglob("*") if path.is_file()}

    await run(target, "new", out=tmp_path / "out")

    assert before == {path: path.read_bytes() for path in stored.path.rglob("*") if path.is_file()}
    assert "expert-new 1.0.0 on tiny" in (tmp_path / "out" / "report.md").read_text()


def test_an_answer_belongs_to_the_number_format_it_was_computed_in(expert: Path, tmp_path: Path) -> None:
    """A run that goes on against a server of another format asks again, so that a report's `dtype` is true of it all."""
    case = held_out(expert).cases[0]
    question = Question(messages=case.messages, base_digest="0", dtype="bfloat16")
    with AnswerBook(tmp_path) as book:
        book.add(question, Reply(text="x", finish_reason="stop", completion_tokens=1))

        assert book.get(question) is not None
        assert book.get(replace(question, dtype="float32")) is None


def test_two_evaluations_do_not_write_one_file(tmp_path: Path) -> None:
    """The second is told whom to wait for."""
    with AnswerBook(tmp_path), pytest.raises(ConfigError, match="another evaluation"):
        AnswerBook(tmp_path)


def test_a_question_without_an_answer_is_never_left_out(expert: Path, tmp_path: Path) -> None:
    """Judging half of the answers would be half of the truth."""
    held = held_out(expert)
    questions = tuple(Question(messages=case.messages, base_digest="0", dtype="float32") for case in held.cases)
    with AnswerBook(tmp_path) as book:
        book.add(questions[0], Reply(text="x", finish_reason="stop", completion_tokens=1))
        with pytest.raises(ConfigError, match="5 of 6 questions"):
            judge(held.cases, {"base": questions}, book)


def test_a_worked_example_that_is_a_case_is_refused(expert: Path) -> None:
    """The base must not be shown the answer."""
    shutil.copy(expert / "tests" / "cases.jsonl", expert / "tests" / "shots.jsonl")

    with pytest.raises(PackageError, match="worked example"):
        held_out(expert)
