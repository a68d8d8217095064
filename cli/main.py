"""The `tilery` command: wires the commands together and turns how things ended into exit codes.

0 succeeded, 1 failed, 2 bad input (also wrong usage), 3 partial, 130 stopped by ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from cli import aws
from cli.control import pause, redrive, resume, stop
from cli.drop import drop
from cli.get import get
from cli.logs import logs
from cli.plan import plan
from cli.redo import redo
from cli.run import run
from cli.runs import runs, show
from cli.text import err
from cli.up import up
from cli.verify import verify
from tilery import __version__
from tilery.outcomes import BadInput, Outcome

app = typer.Typer(
    name="tilery",
    help="Drop big spatial data into a folder; get classified, detected and merged products back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"tilery {__version__}")
        raise typer.Exit(0)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    """Nothing of its own: `--version` answers before a command is looked for."""


HERE = "On this machine"
BOTH = "The twin (--root DIR) or AWS (--stack NAME)"
on_this_machine: tuple[Callable[..., None], ...] = (run, up, verify, plan)
on_both: tuple[Callable[..., None], ...] = (drop, get, runs, show, logs, stop, redrive, redo, pause, resume)
for command in on_this_machine:
    app.command(rich_help_panel=HERE)(command)
for command in on_both:
    app.command(rich_help_panel=BOTH)(command)


@app.command(rich_help_panel="AWS")
def preflight(
    stack_environment: Annotated[
        str, typer.Argument(metavar="[ENVIRONMENT]", help="The settings to deploy: dev or prod.")
    ] = "dev",
    settings: Annotated[
        str, typer.Option("--settings", metavar="JSON", help="What `cdk deploy -c settings=JSON` gets.", show_default=False)
    ] = "",
) -> None:
    """Check before `cdk deploy`: credentials, bootstrap, Docker, quotas; say what to do for each."""
    from cli import preflight as checks

    raise typer.Exit(checks.run(stack_environment, settings))


def invoke(arguments: list[str] | None = None) -> int:
    """Run one command line; returns its exit code. Errors of a known kind are one sentence on stderr, never a traceback."""
    try:
        app(args=arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except Outcome as error:
        _say(str(error))
        return 2 if isinstance(error, BadInput) else 1
    except OSError as error:
        where = error.filename or "this machine"
        # without a number it is a sentence of the store, as of one that S3 refuses
        _say(f"{where}: {error.strerror}; make room or check permissions, then run it again" if error.errno else str(error))
        return 1
    except Exception as error:
        sentence = aws.sentence(error)
        if sentence is None:
            raise
        _say(sentence)
        return 1
    return 0


def main() -> None:
    """The entry point of the `tilery` script."""
    sys.exit(invoke())


def _say(sentence: str) -> None:
    err().print(f"error: {sentence}", markup=False, style="red")


if __name__ == "__main__":
    main()
