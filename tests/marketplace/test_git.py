"""Fetching over real servers on loopback, and sources that try to fill the node."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expert_system.errors import PackageError, SourceUnavailable
from expert_system.marketplace import git as transport
from expert_system.marketplace.acquire import Acquirer
from expert_system.marketplace.git import Repository, check_url
from expert_system.marketplace.packscan import PackLimits, scan_pack
from expert_system.marketplace.sources import Source
from expert_system.marketplace.store import Store
from expert_system.testing.market import Market, git

LIMITS = PackLimits(pack=2**20, object=2**20, total=2**21, count=100)


def free_port() -> int:
    """A port that nothing listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture
def git_daemon(market: Market) -> Iterator[str]:
    """Git's own server over the market's repositories."""
    port = free_port()
    base = market.folder / "repositories"
    base.mkdir()
    command = ["git", "daemon", f"--base-path={base}", "--export-all", f"--port={port}", "--listen=127.0.0.1"]
    with serving([*command, "--reuseaddr"], port):
        yield f"git://127.0.0.1:{port}"


@pytest.fixture
def http_server(market: Market) -> Iterator[str]:
    """Dulwich's smart HTTP server."""
    port = free_port()
    folder = market.publish()
    program = (
        "import sys; from dulwich.web import *; from dulwich.server import DictBackend; from dulwich.repo import Repo;"
        "from wsgiref.simple_server import make_server;"
        "app = make_wsgi_chain(DictBackend({'/': Repo(sys.argv[1])}));"
        "make_server('127.0.0.1', int(sys.argv[2]), app, handler_class=WSGIRequestHandlerLogger,"
        " server_class=WSGIServerLogger).serve_forever()"
    )
    with serving([sys.executable, "-c", program, str(folder), str(port)], port):
        yield f"http://127.0.0.1:{port}/"


def test_an_expert_installs_and_updates_over_gits_own_server(
    market: Market, store: Store, acquirer: Acquirer, git_daemon: str
) -> None:
    """Issue A5: served by a real git server on loopback."""
    market.publish(version="1.0.0")
    acquirer.install([Source(location=f"{git_daemon}/expert-sql")])
    market.publish(version="1.1.0")
    assert ["1.1.0"] == [expert.manifest.version for expert in acquirer.update().installed]


def test_an_expert_installs_over_http(store: Store, acquirer: Acquirer, http_server: str) -> None:
    """formats.md 5.3: smart HTTP."""
    assert acquirer.install([Source(location=http_server)]).installed
    assert "1.0.0" == store.find("sql").manifest.version


def test_an_expert_installs_over_ssh(
    market: Market, store: Store, acquirer: Acquirer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """formats.md 5.3: ssh runs the machine's own ssh, which a stand-in replaces here."""
    folder = market.publish()
    stand_in = tmp_path / "bin" / "ssh"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    assert acquirer.install([Source(location=f"ssh://git@localhost{folder}")]).installed
    assert "1.0.0" == store.find("sql").manifest.version


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=id/x", "ssh://git@-oProxyCommand=id/x"])
def test_a_host_that_is_an_option_is_refused(url: str, tmp_path: Path) -> None:
    """A location must not become an argument of ssh."""
    with pytest.raises(SourceUnavailable):
        Repository(url, tmp_path).refs()


def test_a_large_repository_is_fetched_at_depth_one(market: Market, git_daemon: str, tmp_path: Path) -> None:
    """formats.md 5.3: a tag is fetched at depth 1, so history costs nothing."""

    def bulk(folder: Path) -> None:
        (folder / "notes.md").write_bytes(os.urandom(4 * 2**20))

    for number in range(4):
        market.publish(version=f"1.{number}.0", before_signing=bulk)
    repository = Repository(f"{git_daemon}/expert-sql", tmp_path)
    repository.fetch("refs/tags/v1.3.0")
    assert sum(file.stat().st_size for file in repository.mirror.rglob("*") if file.is_file()) < 6 * 2**20


def test_a_pack_above_the_limit_is_stopped_while_it_is_fetched(
    market: Market, git_daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """formats.md 5.3: sizes are bounded while fetching, not after."""
    market.publish(before_signing=lambda folder: _write(folder / "notes.md", os.urandom(4 * 2**20)))
    monkeypatch.setattr(transport, "ONE_COMMIT", PackLimits(pack=2**20, object=2**30, total=2**30))
    repository = Repository(f"{git_daemon}/expert-sql", tmp_path)
    with pytest.raises(SourceUnavailable, match="nothing of it was kept"):
        repository.fetch("refs/tags/v1.0.0")
    assert [] == list(tmp_path.rglob("*.pack"))


def test_a_small_pack_that_inflates_hugely_is_refused_before_it_is_kept(
    market: Market, git_daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """formats.md 5.3: a bomb is measured, never held in memory."""
    market.publish(before_signing=_zeros)
    monkeypatch.setattr(transport, "ONE_COMMIT", PackLimits(pack=2**20, object=2**20, total=2**21))
    with pytest.raises(SourceUnavailable, match="object of 8388608 bytes"):
        Repository(f"{git_daemon}/expert-sql", tmp_path).fetch("refs/tags/v1.0.0")
    assert [] == list(tmp_path.rglob("*.pack"))


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _zeros(folder: Path) -> None:
    (folder / "notes.md").write_bytes(bytes(8 * 2**20))


def test_a_server_that_never_stops_talking_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """formats.md 5.3: the list of references is bounded as well."""
    monkeypatch.setattr("expert_system.marketplace.bounded.MAX_REFS_BYTES", 2**16)
    monkeypatch.setattr(transport, "MAX_REFS_BYTES", 2**16)

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
            self.end_headers()
            self.wfile.write(b"001e# service=git-upload-pack\n0000")
            line = b"0" * 40 + b" refs/tags/v%08d\n"
            try:
                for number in range(1_000_000):
                    text = line % number
                    self.wfile.write(b"%04x" % (len(text) + 4) + text)
            except OSError:
                return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(SourceUnavailable, match="more than the limit"):
            Repository(f"http://127.0.0.1:{server.server_port}/x", tmp_path).refs()
    finally:
        server.shutdown()
        server.server_close()


def test_a_plain_file_server_is_refused(market: Market, tmp_path: Path) -> None:
    """formats.md 5.3: its objects could not be bounded while they are fetched."""
    folder = market.publish()
    git(folder, "update-server-info")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder / ".git"),
    ]
    with serving(command, port), pytest.raises(SourceUnavailable):
        Repository(f"http://127.0.0.1:{port}/", tmp_path).fetch("refs/tags/v1.0.0")
    assert [] == list(tmp_path.rglob("*.pack"))


def test_a_tree_that_repeats_itself_cannot_make_a_node_walk_for_ever(market: Market, tmp_path: Path) -> None:
    """formats.md 5.3: counts are bounded; ten trees of ten trees of … are a few objects."""
    folder = market.publish()
    tree = subprocess.run(
        ["git", "-C", str(folder), "mktree"], input="", capture_output=True, text=True, check=True
    ).stdout.strip()
    for _ in range(12):
        listing = "".join(f"040000 tree {tree}\t{name}\n" for name in "abcdefghij")
        tree = subprocess.run(
            ["git", "-C", str(folder), "mktree"], input=listing, capture_output=True, text=True, check=True
        ).stdout.strip()
    commit = git(folder, "commit-tree", tree, "-m", "bomb").strip()
    git(folder, "tag", "-f", "v1.0.0", commit)
    repository = Repository(str(folder), tmp_path)
    repository.fetch("refs/tags/v1.0.0")
    with pytest.raises(PackageError, match="folders"):
        repository.unpack(commit, tmp_path / "out")


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "git://example.com/x", "ftp://example.com/x", "ext::sh -c id", "rsync://h/x"]
)
def test_transports_without_protection_or_with_commands_are_refused(url: str) -> None:
    """formats.md 5.3: https, ssh, file and local paths; plain transports to this machine only."""
    if "://" not in url:
        with pytest.raises(SourceUnavailable):
            Repository(url, Path("/nonexistent")).refs()
        return
    with pytest.raises(SourceUnavailable, match="sources are https"):
        check_url(url)


def pack(*objects: tuple[int, bytes, int | None]) -> BytesIO:
    """A pack of (type, content, declared size) without its checksum."""
    data = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, content, declared in objects:
        size = len(content) if declared is None else declared
        first, rest = (kind << 4) | (size & 15), size >> 4
        head = bytearray()
        while rest:
            head.append(first | 0x80)
            first, rest = rest & 0x7F, rest >> 7
        head.append(first)
        data += bytes(head) + zlib.compress(content)
    return BytesIO(data)


def test_an_honest_pack_passes_the_scan() -> None:
    """formats.md 5.3."""
    assert 2 == scan_pack(pack((3, b"x" * 100_000, None), (3, b"", None)), LIMITS)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (pack((3, b"x" * 100, 10)), "longer than it says|not as long"),
        (pack((3, b"x", 10)), "not as long as it says"),
        (pack((3, b"", 2**21)), "the limit is"),
        (pack(*[(3, b"x" * 2**19, None)] * 5), "inflate to more than"),
        (pack(*[(3, b"", None)] * 101), "101 objects"),
        (pack((5, b"", None)), "unknown type"),
        (BytesIO(b"PACK"), "ends early"),
        (BytesIO(b"nonsense nonsense"), "not a git pack"),
    ],
)
def test_a_pack_that_lies_or_breaks_a_limit_is_refused(file: BytesIO, words: str) -> None:
    """formats.md 5.3: declared and real sizes are compared while inflating."""
    with pytest.raises(SourceUnavailable, match=words):
        scan_pack(file, LIMITS)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_pack_scan_raise_anything_but_our_own_error(data: bytes) -> None:
    """Issue A5: property test on what a server sends."""
    for text in (data, b"PACK" + struct.pack(">II", 2, 3) + data):
        try:
            scan_pack(BytesIO(text), LIMITS)
        except SourceUnavailable:
            continue
