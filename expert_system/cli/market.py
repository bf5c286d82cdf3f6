"""`expert-cli` on the marketplace: search, sync, and the indexes that this node follows."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to `expert-cli`."""
