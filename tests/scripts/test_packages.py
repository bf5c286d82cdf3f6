"""scripts/lib/packages.py: where torch is looked for, and what the fingerprint protects."""

from __future__ import annotations

import contextlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib import packages
from scripts.lib.packages import Place, SetupError

TORCH_WHEEL = "torch-2.13.0+cpu-py3-none-any.whl"


def build_torch_wheel(folder: Path) -> Path:
    """Build a wheel that carries torch's name and version, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / TORCH_WHEEL
    info = "torch-2.13.0+cpu.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torch.py", "__version__ = '2.13.0+cpu'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"torch.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel


@contextlib.contextmanager
def directory_index(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder of wheels on loopback, as a plain web server lists directories.

    Yields:
        Its address, and the paths asked for so far.
    """
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, directory=str(folder), **options)  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A working copy whose only pin is torch, with a virtual environment and the real uv."""
    place = Place(root=tmp_path / "copy", home=tmp_path / "home")
    place.constraints("cpu").parent.mkdir(parents=True)
    place.constraints("cpu").write_text("torch==2.13.0+cpu\n")
    place.constraints("gpu").write_text("torch==2.13.0\n")
    place.excluded.write_text("torchvision\n")
    (place.root / "pyproject.toml").write_text("[project]\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place.root / ".venv"], check=True)
    (place.root / ".venv/bin/uv").symlink_to(Path(sys.prefix) / "bin/uv")
    return place


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment that names no place for packages, so nothing on this machine or outside it is asked."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return {**plain, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_CONFIG": "1"}


def replace_program(program: Path, exit_code: int) -> None:
    """Put a program in its place that only exits."""
    program.unlink()
    program.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    program.chmod(0o755)


def test_torch_comes_from_its_own_index_when_the_usual_one_lacks_it(
    place: Place, environment: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyTorch's CPU wheels from PyTorch's index only if the plain way fails; what comes back installs."""
    build_torch_wheel(tmp_path / "served/whl/cpu/torch")
    with directory_index(tmp_path / "served") as (address, _):
        environment["UV_DEFAULT_INDEX"] = f"{address}/simple"  # lists nothing

        found = packages.add_torch_index(place, environment, f"{address}/whl/cpu")

        assert f"{address}/whl/cpu" == found["UV_INDEX"]
        assert f"not on the usual index; looking on {address}/whl/cpu" in capsys.readouterr().err
        subprocess.run(
            [place.root / ".venv/bin/uv", "pip", "install", "--python", place.python, "torch==2.13.0+cpu"],
            env=found,
            check=True,
            capture_output=True,
        )
        subprocess.run([place.python, "-c", "import torch"], check=True)


def test_torch_found_plainly_leaves_its_own_index_alone(
    place: Place, environment: dict[str, str], tmp_path: Path
) -> None:
    """What the user told pip, here find-links, is enough: the other index is not asked at all."""
    wheel = build_torch_wheel(tmp_path / "wheels")
    with directory_index(tmp_path) as (address, asked):
        environment |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheel.parent)}

        assert environment == packages.add_torch_index(place, environment, f"{address}/whl/cpu")
        assert [] == asked


def test_torch_found_nowhere_says_what_to_do(place: Place, environment: dict[str, str], tmp_path: Path) -> None:
    """Fails with a sentence that names both places and the way out."""
    with directory_index(tmp_path) as (address, _):
        environment["UV_DEFAULT_INDEX"] = f"{address}/simple"

        with pytest.raises(SetupError, match=f"neither on the usual index nor on {address}/whl/cpu.*PIP_FIND_LINKS"):
            packages.add_torch_index(place, environment, f"{address}/whl/cpu")


def test_an_installation_counts_only_when_it_came_to_its_end(place: Place) -> None:
    """The fingerprint is written last and removed first: an interrupted install is repeated."""
    place.stamp.write_text(packages.fingerprint(place, "gpu"))
    replace_program(place.python, exit_code=0)  # a pip without settings
    replace_program(place.root / ".venv/bin/uv", exit_code=1)

    with pytest.raises(SetupError, match=r"delete the folder \.venv and run again"):
        packages.install_packages(place, "gpu")

    assert not packages.are_installed(place, "gpu")


@pytest.mark.parametrize(
    "changed", ["pyproject.toml", "scripts/constraints/cpu.txt", "scripts/constraints/excluded.txt"]
)
def test_a_changed_pin_is_noticed(place: Place, changed: str) -> None:
    """The fingerprint covers every file that decides what is installed, and the variant."""
    place.stamp.write_text(packages.fingerprint(place, "cpu"))
    assert packages.are_installed(place, "cpu")
    assert not packages.are_installed(place, "gpu")

    with (place.root / changed).open("a") as file:
        file.write("# changed\n")

    assert not packages.are_installed(place, "cpu")


def test_a_broken_environment_is_never_deleted(place: Place) -> None:
    """What is in .venv is the user's: say what to do, do not do it."""
    replace_program(place.python, exit_code=1)

    with pytest.raises(SetupError, match=r"delete the folder \.venv and run again"):
        packages.make_environment(place)


def test_a_half_made_environment_does_not_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without ensurepip the folder would be left without pip, and look usable to the next run."""
    shutil.rmtree(place.root / ".venv")
    program = place.root / "python"
    program.write_text(f"#!/bin/sh\nmkdir -p {place.python.parent}; touch {place.python}; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    with pytest.raises(SetupError, match=r"install python3\.11-venv"):
        packages.make_environment(place)

    assert not (place.root / ".venv").exists()
