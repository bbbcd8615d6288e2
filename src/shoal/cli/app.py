"""All commands together, and what becomes of their errors: one line, the note below it, and an exit code."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import shoal
from shoal.cli.ending import INTERRUPTED
from shoal.cli.options import EPILOG, SETTINGS
from shoal.errors import MissingExtraError, RunActiveError, RunConflictError, ShoalError, StoreError

__all__ = ["build", "carry_out", "shoal_command", "version"]

WORK_FAILED, BAD_USAGE, STORE_TROUBLE = 1, 2, 3
COMMANDS = (
    *("init", "run", "chat", "up", "discover", "call", "control", "nodes", "drain", "agents", "tasks", "runs"),
    *("events", "metrics", "export", "registry", "boxes", "db", "doctor"),
)
"""The files of the commands, in the order of the help; one with an ``app`` is a group."""


def build(command: str | None = None) -> typer.Typer:
    """Return all commands; or, for one of COMMANDS, this one alone, so that no other file is loaded."""
    app = typer.Typer(
        name="shoal", rich_markup_mode=None, add_completion=False, no_args_is_help=True, context_settings=SETTINGS,
        pretty_exceptions_enable=False,
    )  # fmt: skip
    app.callback(epilog=EPILOG)(shoal_command)
    for name in [command] if command in COMMANDS else COMMANDS:
        module: Any = importlib.import_module(f"shoal.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, epilog=EPILOG)
        else:
            app.command(name, epilog=EPILOG)(getattr(module, name))
    app.command("version", epilog=EPILOG)(version)
    return app


def version() -> None:
    """Print the version of Shoal.

    \b
    Example:
      shoal version
    """
    typer.echo(shoal.__version__)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit()


def shoal_command(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; also after a command.")
    ] = False,
) -> None:
    """A runtime for teams of agents: run them, and look at, feed and mend their store beside a running runtime.

    \b
    Example:
      shoal run hello.py:Greeter '{"name": "Alice"}' '{"name": "Bob"}'
      shoal tasks list --status failed
    """


def carry_out(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code; nothing is raised."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(words)
    if arguments is None:
        atexit.register(gc.freeze)  # the ending process would look for circles in all that is loaded: 0.1 s
    try:
        code = typer.main.get_command(build(words[0] if words else None)).main(
            words, prog_name="shoal", standalone_mode=False
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - every error ends here, as a line and an exit code
        if debug:
            traceback.print_exception(error)
        return _tell(error)


def _take_debug(words: list[str]) -> bool:
    """Take ``--debug`` out of *words*, wherever it stands before ``--``."""
    end = words.index("--") if "--" in words else len(words)
    if "--debug" not in words[:end]:
        return False
    words.remove("--debug")
    return True


def _tell(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands alone: its message is the whole help text
        print(str(error), file=sys.stderr)
        return BAD_USAGE
    text, note, code = _explain(error)
    for place, line in enumerate(getattr(error, "faults", ()) or [text] if text else ()):
        print(f"{'  ' if place else 'shoal: '}{' '.join(line.split())}", file=sys.stderr)
    if note:
        print(f"  {note}", file=sys.stderr)
    return code


def _explain(error: Any) -> tuple[str, str, int]:
    """Return what to say, what the reader can do, and the exit code."""
    note = "\n  ".join(getattr(error, "__notes__", ()))
    if hasattr(error, "format_message"):  # an error of the command line: Typer brings its own class tree
        context = getattr(error, "ctx", None)
        path = "shoal" if context is None else context.command_path
        return error.format_message(), f"See `{path} --help`.", BAD_USAGE
    if isinstance(error, StoreError):
        return str(error), note, STORE_TROUBLE
    if isinstance(error, (ValueError, TypeError)) and (isinstance(error, ShoalError) or _ours(error)):
        return str(error), note, BAD_USAGE
    if isinstance(error, (ShoalError, OSError)):
        refused = (LookupError, MissingExtraError, FileNotFoundError, PermissionError, RunActiveError, RunConflictError)
        return str(error), note, BAD_USAGE if isinstance(error, refused) else WORK_FAILED
    return f"{type(error).__name__}: {error}", "This is a fault of Shoal; --debug shows where.", WORK_FAILED


def _ours(error: BaseException) -> bool:
    """Tell whether a plain ValueError or TypeError is a verb's answer to a bad argument: raised by Shoal's own line."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__", "")).startswith("shoal.")
