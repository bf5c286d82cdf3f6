"""`expert-cli test-composition` over a real gRPC server with the shipped fake engine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from expert_system.cli import app
from expert_system.cli.composition import _tested
from expert_system.cli.connect import Place
from expert_system.errors import ConfigError, InvalidRequest
from expert_system.marketplace.store import Store
from expert_system.testing.engine import FakeEngine
from expert_system.testing.expert import make_base, make_expert
from expert_system.training.cases import Case
from expert_system.training.composition import sample, sets_of

NAMES = ("expert-format", "expert-tech", "expert-task")
CATEGORY = {"expert-format": ("format", 1), "expert-tech": ("tech", 5), "expert-task": ("task", 9)}
CASES = 8


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def case(prompt: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "answer": answer}


@pytest.fixture
def experts(home: Path, tmp_path: Path) -> dict[str, Path]:
    """Three experts; the task expert brings joint cases with the format expert."""
    base = make_base(home / "bases" / "tiny")
    found: dict[str, Path] = {}
    for seed, name in enumerate(NAMES):
        category, load_order = CATEGORY[name]
        folder = tmp_path / name
        found[name] = make_expert(
            folder, base, name=name, seed=seed, composition={"category": category, "load_order": load_order}
        )
        write(folder / "tests" / "cases.jsonl", *(case(f"{name} {n}", name) for n in range(CASES)))
    write(
        found["expert-task"] / "tests" / "joint" / "expert-format.jsonl", case("both 1", "both"), case("both 2", "both")
    )
    return found


@pytest.fixture
def engine(engine: FakeEngine, home: Path, experts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine in which an expert answers its own cases rightly, unless tech runs beside task; two answer joint cases."""
    words = engine._words

    def answered(request: Any) -> Any:
        store = Store(home, dev=True)
        members = request.expert_set.members if request.expert_set else ()
        names = {store.by_digest(member.expert).manifest.name for member in members}
        store.close()
        asked = bytes(request.token_ids).decode().split()
        name, number = asked[-2], int(asked[-1])
        spoilt = {"expert-tech", "expert-task"} <= names and name == "expert-tech" and number < 4
        right = name in names and not spoilt
        engine._answer = name if right else "both" if name == "both" and len(names) == 2 else "no"
        return words(request)

    monkeypatch.setattr(engine, "_words", answered)
    return engine


@pytest.fixture
async def target(start: Any, engine: FakeEngine) -> Any:
    async with start() as server:
        yield server.target


async def run(target: str, experts: list[Path], **options: Any) -> dict[str, Any]:
    given = {"cases": 100, "max_loss": 0.05, "max_tokens": 20, "write": False, "out": None, **options}
    return await _tested([str(folder) for folder in experts], Place(server=target), **given)


async def test_a_loss_in_company_is_found_and_called_harmful(target: str, experts: dict[str, Path]) -> None:
    """Each member's own cases alone, in every pair and in the whole set; the worst loss decides."""
    report = await run(target, list(experts.values()))

    losses = {" ".join(entry["experts"]): (entry["worst_loss"], entry["harmful"]) for entry in report["sets"]}
    assert {
        "expert-format expert-task": (0.0, False),
        "expert-format expert-tech": (0.0, False),
        "expert-task expert-tech": (0.5, True),
        "expert-format expert-task expert-tech": (0.5, True),
    } == losses


async def test_joint_cases_are_held_against_the_better_single_member(target: str, experts: dict[str, Path]) -> None:
    """What a pair adds is what it can that neither member can alone."""
    report = await run(target, list(experts.values()))

    (joint,) = report["joint_cases"]
    assert (["expert-format", "expert-task"], 2) == (joint["pair"], joint["cases"])
    assert {"value": 1.0, "low": 1.0, "high": 1.0} == joint["change_over_the_better_one"]
    assert [0.0, 0.0] == [found["value"] for found in joint["alone"].values()]


async def test_the_router_of_this_node_learns_of_it(target: str, experts: dict[str, Path], home: Path) -> None:
    """state.db, keyed by the sorted digests and the base's."""
    await run(target, [experts["expert-tech"], experts["expert-task"]])

    store = Store(home, dev=True)
    digests = frozenset(store.find(name).digest for name in ("expert-tech", "expert-task"))
    assert {make_base(home / "bases" / "tiny").binding: frozenset([digests])} == store.harmful()
    store.close()


async def test_a_higher_threshold_calls_the_same_loss_fine(target: str, experts: dict[str, Path]) -> None:
    """--max-loss is the author's choice."""
    report = await run(target, [experts["expert-tech"], experts["expert-task"]], max_loss=0.5)

    assert [False] == [entry["harmful"] for entry in report["sets"]]


@pytest.mark.parametrize(("threshold", "code"), [("0.05", 1), ("0.5", 0)])
async def test_the_exit_code_says_whether_a_set_is_harmful(
    threshold: str, code: int, target: str, experts: dict[str, Path]
) -> None:
    """For a publisher's own checks: 1 when an expert loses more than --max-loss."""
    names = f"{experts['expert-tech']},{experts['expert-task']}"
    words = ["test-composition", "--experts", names, "--max-loss", threshold, "--server", target]

    outcome = await asyncio.to_thread(CliRunner().invoke, app, words)

    assert code == outcome.exit_code, outcome.output


async def test_the_report_has_the_matrix_and_a_heat_map(target: str, experts: dict[str, Path], tmp_path: Path) -> None:
    """Rows are whose cases, columns in whose company."""
    await run(target, list(experts.values()), out=tmp_path / "out")

    told = (tmp_path / "out" / "report.md").read_text()
    assert "| cases of | expert-format | expert-tech | expert-task | all together |" in told
    assert "| expert-tech | +0.0 |  | -50.0 | -50.0 |" in told
    assert (tmp_path / "out" / "composition.png").read_bytes().startswith(b"\x89PNG")


async def test_pairs_are_written_into_the_expert_that_is_loaded_later(target: str, experts: dict[str, Path]) -> None:
    """formats.md 1.9: official pairs are signed with evaluation.json; the partner is named by its weights."""
    await run(target, list(experts.values()), write=True)
    await run(target, [experts["expert-tech"], experts["expert-task"]], write=True)

    reports = {name: json.loads((folder / "evaluation.json").read_text()) for name, folder in experts.items()}
    pairs = {name: report for name, report in reports.items() if "composition" in report}
    assert {"expert-tech": ["expert-format"], "expert-task": ["expert-format", "expert-tech"]} == {
        name: [entry["with"] for entry in report["composition"]] for name, report in pairs.items()
    }
    assert [False, True] == [entry["harmful"] for entry in pairs["expert-task"]["composition"]]
    assert 64 == len(next(iter(pairs["expert-tech"]["composition"][0]["adapters"].values())))


async def test_weights_hold_in_company_only_and_are_told(
    target: str, experts: dict[str, Path], engine: FakeEngine, home: Path, tmp_path: Path
) -> None:
    """A request may weigh an expert as it likes, and the router may not, so state.db learns nothing of it."""
    tech, task = experts["expert-tech"], experts["expert-task"]
    await run(target, [tech, task], write=True)
    report = await run(target, [Path(f"{tech}=0.5"), task], write=True, out=tmp_path / "out")

    weights = [
        [member.weight for member in request.expert_set.members] for request in engine.seen if request.expert_set
    ]
    assert [1.0] in weights
    assert [1.0, 1.0] in weights
    assert [0.5, 1.0] in weights
    assert [0.5] not in weights
    assert {"expert-tech": 0.5} == report["weights"]
    assert "weigh other than always: expert-tech 0.5." in (tmp_path / "out" / "report.md").read_text()
    entries = json.loads((task / "evaluation.json").read_text())["composition"]
    assert [None, {"expert-tech": 0.5}] == [entry.get("weights") for entry in entries]
    store = Store(home, dev=True)
    assert 1 == len(next(iter(store.harmful().values())))
    store.close()


@pytest.mark.parametrize("weight", ["heavy", "0", "nan", "4.5"])
async def test_a_weight_that_no_request_could_have_is_refused(
    weight: str, target: str, experts: dict[str, Path]
) -> None:
    """As `--expert NAME=WEIGHT` refuses it."""
    with pytest.raises(InvalidRequest, match="weight"):
        await run(target, [Path(f"{experts['expert-tech']}={weight}"), experts["expert-task"]])


async def test_nothing_is_asked_twice(target: str, experts: dict[str, Path], engine: FakeEngine) -> None:
    """Answers are kept; another run of the same set asks nothing."""
    await run(target, list(experts.values()))
    asked = len(engine.seen)
    await run(target, list(experts.values()))

    # Three members alone, in two pairs and in the whole set, and two joint cases for each member and both.
    assert 3 * CASES * (1 + 2 + 1) + 2 * 3 == asked == len(engine.seen)


async def test_one_expert_is_no_composition(target: str, experts: dict[str, Path]) -> None:
    """Nor is one expert twice."""
    with pytest.raises(ConfigError, match="two or more"):
        await run(target, [experts["expert-tech"], experts["expert-tech"]])


def test_a_sample_is_spread_over_all_cases() -> None:
    """The first cases of a file may all be of one kind."""
    cases = [Case(messages=(), answer=str(number)) for number in range(10)]

    assert ["0", "3", "6"] == [one.answer for one in sample(cases, 3)]
    assert tuple(cases) == sample(cases, 10)


def test_two_members_are_one_set_and_three_are_four() -> None:
    """Every pair, and the whole."""
    members: Any = [type("M", (), {"name": name}) for name in "cab"]

    assert (("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")) == sets_of(members)
    assert (("a", "c"),) == sets_of(members[:2])
