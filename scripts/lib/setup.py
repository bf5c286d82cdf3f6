"""Prepare a working copy from nothing: interpreter, packages, base, experts.

    choose a variant -> .venv -> uv -> packages -> embedded base -> experts/

Promise: safe to run again. Each step looks first and leaves alone what is there
and right, so a second run takes seconds. Only the standard library is used,
since this runs before anything is installed.
"""

import argparse
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from scripts.lib import packages
from scripts.lib.packages import Place, SetupError, answers, run

ROOT = Path(__file__).resolve().parents[2]
BASE = "smollm2-135m-instruct"

Step = tuple[str, Callable[[], None]]
"""What it does, in words that follow "would", and the work itself."""


def choose_variant(asked: str | None, before: str | None) -> tuple[str, str]:
    """Choose the build of vLLM: what was asked for, else what is there, else what the machine can run.

    Returns:
        "cpu" or "gpu", and the reason in words.
    """
    if asked:
        return asked, f"asked for with --{asked}"
    if before:
        return before, "as before; --cpu or --gpu changes it"
    if answers(["nvidia-smi", "-L"]):
        return "gpu", "nvidia-smi answers"
    if shutil.which("rocminfo") or Path("/opt/rocm").exists():
        return "cpu", (
            "an AMD GPU with ROCm is here, but vLLM for ROCm is your own install: see vLLM's guide, "
            "install it into .venv, and leave this script's packages as they are"
        )
    return "cpu", "no GPU answers"


def prepare_base(place: Place) -> None:
    """Put the embedded base under `$EXPERT_HOME/bases`."""
    run(
        [place.python, "-m", "expert_system.engine.embedded_base"],
        "the embedded base could not be prepared; the line above says why",
        environment={**os.environ, "EXPERT_HOME": str(place.home)},
    )


def build_kernel(place: Place) -> None:
    """Build the fused kernel for this processor; an engine that finds none would build it at its first start."""
    run(
        [place.python, "-m", "expert_system.engine.plugin.cpu.build"],
        "the kernel could not be built; the compiler's words stand above",
    )


def experts(root: Path) -> Iterator[Path]:
    """List the official experts: folders of `experts/` that hold a manifest and weights."""
    for folder in sorted(root.glob("experts/expert-*")):
        if (folder / "manifest.json").is_file() and any(folder.glob("weights/**/*.safetensors")):
            yield folder


def install_experts(place: Place) -> None:
    """Install each official expert into the store, through verification; one without a signature stays unverified."""
    for folder in experts(place.root):
        unverified = [] if (folder / "signature.json").is_file() else ["--dev"]
        run(
            [place.root / ".venv/bin/expert-cli", "install", *unverified, folder],
            f"{folder.name} could not be installed; the line above says why",
            environment={**os.environ, "EXPERT_HOME": str(place.home)},
        )


def say(text: str) -> None:
    """Tell the person at the terminal what is going on."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the working copy's lock, so that two set-ups at once do not trip over each other."""
    folder = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def steps(place: Place, variant: str) -> list[Step]:
    """Name every step of this run in order; those for packages are left out when the right ones are there."""
    steps: list[Step] = []
    if not packages.are_installed(place, variant):
        steps += [
            ("make .venv with Python 3.11", partial(packages.make_environment, place)),
            (f"install {packages.UV}", partial(packages.install_uv, place)),
            (
                f"install the {variant.upper()} variant (a download of a gigabyte or more the first time)",
                partial(packages.install_packages, place, variant),
            ),
        ]
    steps.append((f"prepare the embedded base in {place.home}/bases/{BASE}", partial(prepare_base, place)))
    if variant == "cpu" and (shutil.which("c++") or shutil.which("g++")):
        steps.append(("build the fused CPU kernel", partial(build_kernel, place)))
    if found := [folder.name for folder in experts(place.root)]:
        steps.append((f"install {', '.join(found)} into {place.home}/store", partial(install_experts, place)))
    return steps


def main(arguments: Sequence[str]) -> int:
    """Run the steps, saying what each does and how long it takes.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="setup", description="Prepare this working copy; safe to run again.")
    variants = parser.add_mutually_exclusive_group()
    variants.add_argument("--cpu", dest="variant", action="store_const", const="cpu", help="the CPU build of vLLM")
    variants.add_argument("--gpu", dest="variant", action="store_const", const="gpu", help="the CUDA build of vLLM")
    parser.add_argument("--dry-run", action="store_true", help="show the choice and every step, change nothing")
    options = parser.parse_args(arguments)

    place = Place(root=ROOT, home=Path(os.environ.get("EXPERT_HOME") or Path.home() / ".expert").expanduser())
    variant, reason = choose_variant(options.variant, packages.variant_before(place))
    started_s = time.monotonic()
    say(f"setup: {variant.upper()} variant ({reason})")
    if not (shutil.which("c++") or shutil.which("g++")):
        say("setup: no C++ compiler found; everything works without one, CPU serving is faster with it")
    if options.dry_run:
        for number, (title, _) in enumerate(steps(place, variant), start=1):
            say(f"  {number}. would {title}")
        return 0
    try:
        with alone(place.root):
            for number, (title, step) in enumerate(steps(place, variant), start=1):
                say(f"  {number}. {title}")
                step_started_s = time.monotonic()
                step()
                say(f"      {time.monotonic() - step_started_s:.1f} s")
    except SetupError as error:
        say(f"setup: {error}")
        return 1
    except KeyboardInterrupt:
        say("setup: interrupted; run it again to go on")
        return 130
    say(f"setup: ready after {time.monotonic() - started_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
