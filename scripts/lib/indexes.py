"""Tell uv where packages come from, in the words the user already told pip.

    pip's environment and configuration files -> uv's environment

uv installs in seconds what pip installs in minutes, but it does not read pip's
settings. Promise: whoever reaches packages with pip reaches the same ones here.
Run as a program it prints `export NAME=VALUE` lines for a shell.
"""

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def pip_settings(config_list: str) -> dict[str, str]:
    """Read the output of `pip config list`.

    Pip's own precedence is kept: environment, then `install.`, then `global.`.

    Args:
        config_list: Lines such as `global.index-url='https://example.org/simple'`.

    Returns:
        Each option's value under its plain name, e.g. `index-url`.
    """
    ranked: dict[str, tuple[int, str]] = {}
    for line in config_list.splitlines():
        key, separator, quoted = line.partition("=")
        section, dot, option = key.rpartition(".")
        rank = {":env:": 3, "install": 2, "global": 1}.get(section, 0)
        if separator and dot and rank > ranked.get(option, (0, ""))[0]:
            ranked[option] = (rank, str(ast.literal_eval(quoted)))
    return {option: value for option, (_, value) in ranked.items()}


def uv_environment(settings: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's settings to uv's environment variables.

    Args:
        settings: What `pip_settings` returned.
        present: The environment; a variable of uv's that is already set wins.

    Returns:
        The variables to add.
    """
    wanted = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": " ".join(settings.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "UV_NO_INDEX": "1" if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "SSL_CERT_FILE": settings.get("cert", ""),
        # pip takes the best version from all its indexes; every version here is pinned, so all must be looked at.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    return {name: value for name, value in wanted.items() if value and name not in present}


def read_environment(python: Path) -> dict[str, str]:
    """Ask the pip of an interpreter for its settings, translated for uv."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    return uv_environment(pip_settings(listed.stdout), os.environ)


if __name__ == "__main__":
    for name, value in read_environment(Path(sys.executable)).items():
        print(f"export {name}={shlex.quote(value)}")
