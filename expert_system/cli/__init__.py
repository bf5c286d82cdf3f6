"""`expert-cli`: the only reader of argv, and the only place that prints.

    argv -> command -> the rest of the system -> stdout (results), stderr (people), exit code

Promise: what a program reads is on stdout and nothing else is; errors are one line on stderr with the next step; and
heavy libraries are imported by the command that needs them, so `--help` answers at once.
"""

from __future__ import annotations

import typer

from expert_system.cli import (
    chat,
    composition,
    dataset,
    experts,
    generate,
    route,
    router,
    serve,
    store,
    system,
    training,
    validate,
)
from expert_system.cli.exits import INTERRUPTED, exit_code
from expert_system.cli.screen import note
from expert_system.errors import ExpertSystemError

app = typer.Typer(
    name="expert-cli",
    help="Specialised inference from one compact base model and small signed experts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("serve")(serve.serve)
app.command("generate")(generate.generate)
app.command("chat")(chat.chat)
app.command("route")(route.route)
app.add_typer(router.app, name="router")
store.register(app)
app.add_typer(dataset.app, name="dataset")
app.command("train")(training.train)
app.command("validate")(validate.validate)
app.command("test-composition")(composition.check_composition)
app.add_typer(experts.app, name="experts")
app.add_typer(system.config_app, name="config")
app.command("doctor")(system.doctor)
app.command("version")(system.version)


def main(args: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        app(args)
    except ExpertSystemError as error:
        note(f"error: {error}")
        raise SystemExit(exit_code(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
