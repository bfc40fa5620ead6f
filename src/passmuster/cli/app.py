"""The command `muster`: global options, the verbs, and how errors are told. One verb per file."""

from __future__ import annotations

import json
import sys
import traceback
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from passmuster import __version__
from passmuster.cli.session import LIMIT_FLAGS, Session, tell
from passmuster.core.errors import MusterError, UsageError

EVERY_DAY, MORE, CARE = "Every day", "More", "Care"

# verb -> panel of the help page. The function of that name in `cli/<verb>_verb.py` is the verb, with an underscore
# behind it where Python keeps the name for itself.
VERBS = {
    "init": EVERY_DAY,
    "add": EVERY_DAY,
    "label": EVERY_DAY,
    "train": EVERY_DAY,
    "release": EVERY_DAY,
    "serve": EVERY_DAY,
    "watch": EVERY_DAY,
    "status": MORE,
    "check": MORE,
    "import": MORE,
    "evaluate": MORE,
    "diff": MORE,
    "approve": MORE,
    "predict": MORE,
    "rollback": MORE,
    "incidents": MORE,
    "verify": CARE,
    "audit": CARE,
    "clean": CARE,
    "drill": CARE,
    "cost": CARE,
    "doctor": CARE,
    "demo": CARE,
}


# Global options may stand before or after the verb: those with a value, and those without.
_WITH_VALUE = ("-C", "--seed", "--time", "--max-cost", "--max-memory", "--device")
KEEP_LIMITS = ("train",)  # the verbs that do; another that took a limit would break it without a word
_FLAGS = ("--json", "-q", "--quiet", "-v", "--verbose", "--yes", "--no-input", "--dry-run")
_WrongUse: Any = typer.BadParameter.__bases__[0]  # of every error of the parser; typer gives it no public name


class ByNeed(TyperGroup):
    """Help that lists the verbs by how often they are needed; plain text, because rich costs more than all the rest."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. An option that it does not know may be meant for all verbs: those near it are named, too."""
        try:
            return super().invoke(ctx)
        except _WrongUse as error:
            if hasattr(error, "possibilities"):  # not of an option that lacks its value
                every = [word for word in (*_WITH_VALUE, *_FLAGS) if word.startswith("--")]
                near = get_close_matches(error.option_name, every)
                error.possibilities = sorted({*(error.possibilities or ()), *near})
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel in (EVERY_DAY, MORE, CARE):
            found = {verb: self.get_command(ctx, verb) for verb, of in VERBS.items() if of == panel}
            rows = [(verb, command.get_short_help_str(90)) for verb, command in found.items() if command]
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="muster",
    cls=ByNeed,
    rich_markup_mode=None,
    help="From raw texts or images and a few dozen labels to a model that has passed muster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"muster {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_tell_version)
    ] = False,
    folder: Annotated[Path, typer.Option("-C", help="Work as if started in this folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show tracebacks of errors.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with yes.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every random choice.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Time budget of train, for example 60s or 10m.")] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="Money budget of train, by the prices in muster.toml, like 0.05.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", help="Memory budget of train, for example 2g.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="That networks are taught on: auto, cpu or cuda.")
    ] = None,
) -> None:
    if max_cost is not None and not max_cost > 0:
        raise UsageError("budget.money", "not an amount of money", value=max_cost, next="write it like --max-cost 0.05")
    limits = {"train.time": time, "train.max_cost": max_cost, "train.max_memory": max_memory}
    _refuse_limits(context.invoked_subcommand or "", {key: value for key, value in limits.items() if value is not None})
    given = {"train.seed": seed, "train.device": device, **limits}
    overrides = {key: value for key, value in given.items() if value is not None}
    context.obj = Session(folder, as_json, quiet, verbose, yes, no_input, dry_run, overrides)


def _refuse_limits(verb: str, given: dict[str, Any]) -> None:
    """A limit is a promise: where it would not be kept it is not taken."""
    if given and verb not in KEEP_LIMITS:
        flags = [LIMIT_FLAGS[key] for key in given]
        raise UsageError(
            "budget.verb", f"muster {verb} keeps no limit of time, money or memory",
            value=" ".join(f"{LIMIT_FLAGS[key]} {value}" for key, value in given.items()),
            limit=f"kept by: {', '.join(f'muster {name}' for name in KEEP_LIMITS)}",
            next=f"muster {verb} without {' and '.join(flags)}",
        )  # fmt: skip


for _verb in VERBS:
    _module = import_module(f"passmuster.cli.{_verb}_verb")
    app.command(_verb)(getattr(_module, f"{_verb}_" if iskeyword(_verb) else _verb))


INTERRUPTED = 130  # the shell's exit code of Ctrl-C


def hoist_globals(arguments: list[str]) -> list[str]:
    """Move global options before the verb, where the parser wants them.

    >>> hoist_globals(["train", "--time", "60s", "x", "--json"])
    ['--time', '60s', '--json', 'train', 'x']
    """
    front: list[str] = []
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            rest += arguments[position:]
            break
        if word in _WITH_VALUE:
            front += arguments[position : position + 2]
            position += 1
        elif word in _FLAGS or word.startswith(tuple(f"{o}=" for o in _WITH_VALUE if o.startswith("--"))):
            front.append(word)
        else:
            rest.append(word)
        position += 1
    return front + rest


def main() -> None:
    """Run the command; errors are told in one place and end with their exit code."""
    arguments = hoist_globals(sys.argv[1:])
    as_json = "--json" in arguments
    try:
        app(arguments)
    except MusterError as error:
        if "--verbose" in arguments or "-v" in arguments:
            traceback.print_exc()
        if as_json:
            _tell_error(error.as_dict())
        else:
            tell(f"muster: {error}", on_stderr=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _tell_interrupted(as_json)
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what became of a KeyboardInterrupt inside a verb
            _tell_interrupted(as_json)
        if as_json and end.code == 2:
            _tell_error({"code": "usage", "what": "see stderr", "next": "muster --help", "exit_code": 2})
        raise
    except Exception as bug:  # noqa: BLE001  # the outermost handler: it reports and ends
        if as_json:
            _tell_error({"code": "bug", "what": f"{type(bug).__name__}: {bug}", "next": None, "exit_code": 1})
        traceback.print_exc()
        raise SystemExit(1) from None


def _tell_interrupted(as_json: bool) -> None:
    what, after = "interrupted; what was recorded stays", "the same command (a training goes on where it stopped)"
    if as_json:
        _tell_error({"code": "interrupted", "what": what, "next": after, "exit_code": INTERRUPTED})
    else:
        print(f"muster: {what}. Next: {after}", file=sys.stderr)


def _tell_error(error: dict[str, Any]) -> None:
    tell(json.dumps({"schema": 1, "ok": False, "error": error}))
