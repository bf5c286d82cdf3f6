"""`expert-cli` as programs and people use it: results on stdout, notes on stderr, exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from expert_system.client import AsyncClient
from expert_system.domain import Done
from expert_system.marketplace.store import Store
from expert_system.testing.engine import FakeEngine
from expert_system.testing.expert import make_base, make_expert

ANSWER_KEYS = ["text", "experts", "finish_reason", "usage", "timings"]


@pytest.fixture
async def target(start: Any) -> Any:
    async with start() as server:
        yield server.target


def test_help_answers_at_once() -> None:
    """Under 0.4 s of processor time: on a machine to itself that is the time a person waits."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "expert_system.cli", "--help"], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert 0 == done.returncode
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


def test_help_imports_nothing_heavy() -> None:
    """Heavy libraries are imported by the command that needs them."""
    heavy = ["vllm", "torch", "transformers", "grpc", "pydantic", "dulwich", "numpy", "onnxruntime"]
    program = f"import sys, expert_system.cli; print([m for m in {heavy} if m in sys.modules])"

    assert "[]" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip()


async def test_generate_streams_text_to_stdout_and_nothing_else(cli: Any, target: str) -> None:
    """Another program reads the answer from stdout."""
    ran = await cli("generate", "hello", "--server", target, "--expert", "sql=0.5", "--max-tokens", "3")

    assert (0, "") == (ran.code, ran.err)
    assert ran.out.endswith(": word1 word2\n")


async def test_generate_json_prints_one_object(cli: Any, target: str) -> None:
    """The documented keys, in their order, and the experts traced to their digests."""
    ran = await cli("generate", "hello", "--json", "--server", target, "-e", "sql@1.0.0", "--max-tokens", "2")

    found = json.loads(ran.out)
    assert ANSWER_KEYS == list(found)
    assert ["name", "version", "weight", "digest"] == list(found["experts"][0])
    assert (64, 2) == (len(found["experts"][0]["digest"]), found["usage"]["completion_tokens"])


async def test_a_prompt_is_one_user_message_unless_raw(cli: Any, target: str, engine: FakeEngine) -> None:
    """--raw sends it untouched; - reads it from stdin."""
    await cli("generate", "hello", "--server", target, "--system", "be brief")
    await cli("generate", "hello", "--server", target, "--raw")
    await cli("generate", "-", "--server", target, "--raw", stdin="from stdin")

    prompts = [bytes(request.token_ids) for request in engine.seen]
    assert [b"system: be brief\nuser: hello\n", b"hello", b"from stdin"] == prompts


async def test_quote_holds_each_prompts_answer_to_its_own_words(
    cli: Any, target: str, engine: FakeEngine, tmp_path: Path
) -> None:
    """--quote with --json-schema: a grammar for each prompt, of one line or of a file; alone it is refused."""
    schema, file = tmp_path / "schema.json", tmp_path / "prompts.jsonl"
    schema.write_text('{"type": "object", "properties": {"name": {"type": "string"}}}')
    file.write_text('{"prompt": "Grace called"}\n{"prompt": "Alan"}\n')
    held = ("--server", target, "--json-schema", str(schema), "--quote")

    assert 0 == (await cli("generate", "Ada wrote", *held)).code
    assert 0 == (await cli("generate", "--file", str(file), *held)).code
    alone = await cli("generate", "Ada wrote", "--server", target, "--quote")

    sources = [request.sampling.grammar.source for request in engine.seen if request.sampling.grammar]
    assert {'"Ada"', '"Grace"', '"Alan"'} == {
        source.partition("w0 ::= ")[2].split(" ")[0].strip() for source in sources
    }
    assert (2, True) == (alone.code, "--json-schema" in alone.err)


async def test_a_file_gives_one_line_each_in_order_and_runs_them_together(
    cli: Any, target: str, engine: FakeEngine, tmp_path: Path
) -> None:
    """Concurrent, yet in the file's order; a line that fails is an error in its place."""
    engine._token_s = 0.05
    names = [[], ["sql"], ["nope"], ["json", "sql"]] * 5
    rows = [{"prompt": f"p{n}", "experts": experts} for n, experts in enumerate(names)]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")

    started = time.monotonic()
    ran = await cli("generate", "--file", str(file), "--server", target, "--max-tokens", "10")
    took_s = time.monotonic() - started

    found = [json.loads(line) for line in ran.out.splitlines()]
    assert (1, 20) == (ran.code, len(found))
    assert "5 of 20 lines failed" in ran.err
    for row, answer in zip(rows, found, strict=True):
        if row["experts"] == ["nope"]:
            assert "NOT_FOUND" == answer["error"]["code"]
        else:
            assert sorted(f"expert-{name}" for name in row["experts"]) == [e["name"] for e in answer["experts"]]
    assert took_s < 0.5 * 15, "they ran one after another"


async def test_installing_embeds_what_an_expert_says_of_itself(cli: Any, home: Path, tmp_path: Path) -> None:
    """Issue A6: descriptors are embedded once, at install, and kept in `derived/` (formats.md 7.1)."""
    folder = make_expert(tmp_path / "e", make_base(home / "bases" / "tiny"), name="expert-e", rank=1)

    ran = await cli("install", "--dev", str(folder), "--json")

    assert 0 == ran.code
    digest = json.loads(ran.out)["installed"][0]["digest"].removeprefix("sha256:")
    assert 1 == len(list((home / "derived" / digest).rglob("descriptors.npz")))


async def test_ten_experts_are_accepted_and_eleven_refused(
    cli: Any, target: str, engine: FakeEngine, home: Path, tmp_path: Path
) -> None:
    """Mission: at most ten experts, at the door of the command line and, behind it, at that of gRPC."""
    tiny = make_base(home / "bases" / "tiny")
    store = Store(home)
    for number in range(11):
        store.install_dev(make_expert(tmp_path / f"e{number}", tiny, name=f"expert-e{number}", rank=1))
    store.close()
    named = [word for number in range(11) for word in ("--expert", f"e{number}")]

    ten = await cli("generate", "x", "--server", target, "--json", "--max-tokens", "2", *named[:20])
    eleven = await cli("generate", "x", "--server", target, "--max-tokens", "2", *named)

    assert (0, 10) == (ten.code, len(json.loads(ten.out)["experts"]))
    assert 2 == eleven.code
    assert "11" in eleven.err
    assert "at most 10" in eleven.err
    assert 1 == len(engine.seen)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"prompt": "x"}\n{broken', "line 2: is not JSON"),
        ('{"text": "x"}', "line 1: must be an object"),
        ('{"prompt": "x", "expert": "y"}', "line 1: has unknown keys: expert"),
        ('{"prompt": "x", "experts": ["Bad Name"]}', "line 1: .*not an expert name"),
    ],
)
async def test_a_broken_file_is_refused_before_anything_runs(
    content: str, problem: str, cli: Any, target: str, engine: FakeEngine, tmp_path: Path
) -> None:
    """Usage error, with the line's number."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)

    ran = await cli("generate", "--file", str(file), "--server", target)

    assert (2, "") == (ran.code, ran.out)
    assert re.search(problem, ran.err)
    assert [] == engine.seen


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["generate"], 2, "give a prompt"),
        (["generate", "x", "--nonsense"], 2, "No such option"),
        (["generate", "x", "--temperature", "3"], 2, "sampling_params.temperature"),
        (["generate", "x", "--expert", "No Name"], 2, "not an expert name"),
        (["generate", "x", "--expert", "nope"], 3, "expert-cli install expert-nope"),
        (["generate", "x", "--expert", "other-base"], 1, "was trained for"),
        (["experts", "load", "nope"], 3, "not installed"),
    ],
)
async def test_exit_codes_say_what_kind_of_failure(
    args: list[str], code: int, told: str, cli: Any, target: str
) -> None:
    """libraries.md: 1 failure, 2 usage, 3 not found; one line on stderr, nothing on stdout."""
    ran = await cli(*args, "--server", target)

    assert (code, "") == (ran.code, ran.out)
    assert told in ran.err
    assert "Traceback" not in ran.err


async def test_no_server_is_exit_code_5(cli: Any) -> None:
    """5 network."""
    ran = await cli("generate", "x", "--server", "127.0.0.1:9")

    assert 5 == ran.code
    assert "expert-cli serve" in ran.err


async def test_experts_are_managed_on_a_running_server(cli: Any, target: str) -> None:
    """load, pin, list, unload; plain lines for programs, JSON on demand."""
    loaded = await cli("experts", "load", "sql", "--server", target)
    pinned = await cli("experts", "pin", "sql", "--json", "--server", target)
    listed = await cli("experts", "list", "--loaded", "--server", target)
    unpinned = await cli("experts", "pin", "sql", "--off", "--server", target)
    unloaded = await cli("experts", "unload", "sql", "--server", target)
    everything = await cli("experts", "list", "--json", "--server", target)

    assert "expert-sql@1.0.0: read in 10 ms" in loaded.out
    assert json.loads(pinned.out)["pinned"]
    assert ["expert-sql", "1.0.0"] == listed.out.split("\t")[:2]
    assert "expert-sql@1.0.0: unpinned\n" == unpinned.out
    assert "expert-sql@1.0.0: unloaded\n" == unloaded.out
    assert [False] * 3 == [expert["loaded"] for expert in json.loads(everything.out)["experts"]]


async def test_chat_remembers_the_conversation(cli: Any, target: str, engine: FakeEngine) -> None:
    """Each turn is sent with those before it; commands change experts and forget."""
    lines = "one\n/experts sql\ntwo\n/reset\nthree\n/experts nope\nfour\n/quit\nnever\n"

    ran = await cli("chat", "--server", target, "--max-tokens", "1", stdin=lines)

    prompts = [bytes(request.token_ids).decode() for request in engine.seen]
    assert ["user: one\n", "user: one\nassistant: base:\nuser: two\n", "user: three\n"] == prompts
    assert [False, True, True] == [request.expert_set is not None for request in engine.seen]
    assert (0, True) == (ran.code, "not installed" in ran.err)


async def test_without_a_server_generate_starts_an_engine_and_says_so(cli: Any) -> None:
    """On stderr, so that stdout stays the answer; and it is gone afterwards."""
    ran = await cli("generate", "hello", "--dev", "-e", "sql", "--max-tokens", "2", fake=True, EXPERT_SERVER_PORT="9")

    assert (0, True) == (ran.code, ran.out.endswith(": word1\n"))
    assert "starting an engine for this command alone" in ran.err


async def test_the_default_address_is_that_of_the_settings(cli: Any, target: str) -> None:
    """A node whose server has another port needs no --server."""
    port = target.rpartition(":")[2]

    ran = await cli("generate", "x", "--max-tokens", "1", EXPERT_SERVER_PORT=port)
    listed = await cli("experts", "list", EXPERT_SERVER_PORT=port)

    assert (0, "base:\n", "") == (ran.code, ran.out, ran.err)
    assert (0, 3) == (listed.code, len(listed.out.splitlines()))


async def test_serve_prints_one_line_and_drains_on_sigterm(
    serve_command: list[str], environment: dict[str, str]
) -> None:
    """Ready means ready; a running answer comes to its end; exit code 0."""
    process = await asyncio.create_subprocess_exec(
        *serve_command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "TOKEN_S": "0.05"},
    )
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    async with AsyncClient(ready["target"]) as client:
        stream = client.generate("x", experts=["sql"], max_tokens=20)
        await anext(stream)
        process.send_signal(signal.SIGTERM)
        rest = [event async for event in stream]
    out, err = await asyncio.wait_for(process.communicate(), 10)

    assert (True, "tiny", 4) == (ready["ready"], ready["base"], ready["slots"])
    assert Done is type(rest[-1])
    assert (0, b"") == (process.returncode, out)
    assert ["ready", "request", "stopped"] == [json.loads(line)["event"] for line in err.decode().splitlines()]


async def test_config_show_names_the_source_of_each_value(cli: Any) -> None:
    """`--json` for programs; a wrong setting is a usage error."""
    shown = await cli("config", "show", "--json", EXPERT_ENGINE_SEED="7")
    wrong = await cli("config", "show", EXPERT_ENGINE_SEDE="7")

    assert {"value": 7, "source": "EXPERT_ENGINE_SEED"} == json.loads(shown.out)["engine.seed"]
    assert 2 == wrong.code
    assert "did you mean engine.seed" in wrong.err


async def test_doctor_says_what_is_wrong_and_fails(cli: Any, tmp_path: Path) -> None:
    """Exit 1 with the next step when something is wrong, 0 when nothing is."""
    wrong = await cli("doctor", "--json", EXPERT_HOME=str(tmp_path / "nowhere"))
    mute = await cli("doctor", "--json", EXPERT_ENGINE_BASE="tiny", CXX="no-such-compiler")
    right = await cli("doctor", "--json", EXPERT_ENGINE_BASE="tiny")

    found = json.loads(wrong.out)
    [unable] = json.loads(mute.out)["problems"]
    assert 1 == mute.code
    assert "no-such-compiler cannot be run" in unable
    assert "g++" in unable
    assert (1, False) == (wrong.code, found["ok"])
    assert any("scripts/setup" in problem for problem in found["problems"])
    assert "3 installed" in json.loads(right.out)["findings"]["experts"]
    assert (0, []) == (right.code, json.loads(right.out)["problems"])
