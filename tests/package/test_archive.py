"""Archives: same tree, same bytes; and nothing hostile gets unpacked."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expert_system.errors import PackageError
from expert_system.package import archive as archives
from expert_system.package.archive import list_archive, pack, unpack
from expert_system.package.files import MAX_FILES, Entry, EntryKind, check_entries, list_folder


def test_the_same_tree_gives_the_same_bytes(expert: Path, tmp_path: Path) -> None:
    """formats.md 2.2: times, owners and the order on disk do not matter."""
    pack(expert, tmp_path / "a.expert")
    for file in expert.rglob("*"):
        os.utime(file, (1, 1))
    (expert / "README.md").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(expert / "README.md")
    pack(expert, tmp_path / "b.expert")
    assert (tmp_path / "a.expert").read_bytes() == (tmp_path / "b.expert").read_bytes()


def test_what_was_packed_is_what_comes_out(expert: Path, tmp_path: Path) -> None:
    """formats.md 2.2."""
    pack(expert, tmp_path / "a.expert")
    unpack(tmp_path / "a.expert", tmp_path / "out")
    assert [(e.path, e.size_bytes) for e in list_folder(expert)] == [
        (e.path, e.size_bytes) for e in list_folder(tmp_path / "out")
    ]


def hostile(file: Path, *members: tarfile.TarInfo) -> Path:
    """An archive with the given members, each filled with zeros."""
    with tarfile.open(file, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"\0" * member.size))
    return file


def member(
    name: str, kind: bytes = tarfile.REGTYPE, size: int = 1, mode: int = 0o644, link: str = ""
) -> tarfile.TarInfo:
    """One entry of an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, size, mode, link
    return info


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../outside"), "'..' are refused"),
        (member("/etc/passwd"), "absolute"),
        (member("a/./b"), "refused"),
        (member("link", tarfile.SYMTYPE, 0, link="/etc/passwd"), "symbolic link"),
        (member("link", tarfile.LNKTYPE, 0, link="README.md"), "symbolic link"),
        (member("device", tarfile.CHRTYPE, 0), "device"),
        (member("pipe", tarfile.FIFOTYPE, 0), "device"),
        (member("run.sh", mode=0o755), "executable"),
        (member("readme.MD"), "equal on some file systems"),
        (member("README.md/inside"), "equal on some file systems"),
        (member("weights.pkl"), "can run code"),
        (member(".git/hooks/post-checkout"), "no .git"),
        (member("a\\b"), "backslashes"),
        (member("a\u200bb"), "invisible"),
        (member("x" * 300), "too long"),
    ],
)
def test_a_hostile_name_is_refused_before_anything_is_unpacked(
    bad: tarfile.TarInfo, words: str, tmp_path: Path
) -> None:
    """formats.md 2.3: nothing is unpacked before these checks."""
    file = hostile(tmp_path / "bad.expert", member("README.md"), bad)
    with pytest.raises(PackageError, match=words):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_bomb_is_stopped_while_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """formats.md 2.3: sizes are limited whatever the archive claims."""
    monkeypatch.setattr(archives, "MAX_STREAM_BYTES", 4 * 1024 * 1024)
    file = tmp_path / "bomb.expert"
    with gzip.open(file, "wb") as stream:
        stream.write(member("zeros", size=2**26).tobuf())
        for _ in range(64):
            stream.write(b"\0" * 2**20)
    assert file.stat().st_size < 100_000
    with pytest.raises(PackageError, match="unpacks to more than"):
        list_archive(file)


def test_too_many_or_too_large_files_are_refused() -> None:
    """formats.md 2.3: the limits are named constants."""
    with pytest.raises(PackageError, match="more than 512 files"):
        check_entries(Entry(path=f"f{n}", size_bytes=0) for n in range(MAX_FILES + 1))
    with pytest.raises(PackageError, match="the limit is"):
        check_entries([Entry(path="big", size_bytes=2**40)])
    with pytest.raises(PackageError, match="bytes in all"):
        check_entries(Entry(path=f"f{n}", size_bytes=2**29) for n in range(3))


@pytest.mark.parametrize("change", [lambda d: d[:-10], lambda d: d[: len(d) // 2], lambda _: b"PK\x03\x04"])
def test_a_damaged_archive_is_refused(expert: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """What is cut or no archive at all is an error of ours."""
    pack(expert, tmp_path / "a.expert")
    (tmp_path / "b.expert").write_bytes(change((tmp_path / "a.expert").read_bytes()))
    with pytest.raises(PackageError, match="not a readable"):
        unpack(tmp_path / "b.expert", tmp_path / "out")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_make_the_archive_reader_raise_anything_but_our_own_error(
    tmp_path: Path, data: bytes, compressed: bool
) -> None:
    """Issue A5: property test on the archive reader."""
    file = tmp_path / "any.expert"
    file.write_bytes(gzip.compress(data) if compressed else data)
    with suppress(PackageError):
        list_archive(file)


@given(st.lists(st.text(max_size=12), max_size=6))
def test_whatever_names_pass_can_stand_side_by_side_in_a_folder(names: list[str]) -> None:
    """formats.md 2.3: names that pass are relative, distinct under folding, and inside the folder."""
    try:
        passed = check_entries(Entry(path=name, kind=EntryKind.FILE, size_bytes=0) for name in names)
    except PackageError:
        return
    paths = [entry.path for entry in passed]
    assert len({path.casefold() for path in paths}) == len(names)
    assert all(not path.startswith("/") and ".." not in path.split("/") for path in paths)
