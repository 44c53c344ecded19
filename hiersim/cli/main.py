"""The command `hiersim`: a tree of commands that are imported when they are called."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from hiersim.errors import DesignError, HiersimError
from hiersim.version import __version__

COMMANDS = {
    "demo": "hiersim.cli.simulate:demo",
    "run": "hiersim.cli.simulate:run",
    "compare": "hiersim.cli.simulate:compare",
    "sweep": "hiersim.cli.sweep:sweep",
    "results": "hiersim.cli.sweep:results",
    "explain": "hiersim.cli.explain:explain",
    "advise": "hiersim.cli.decide:advise",
    "tornado": "hiersim.cli.decide:tornado",
    "knees": "hiersim.cli.decide:knees",
    "target": "hiersim.cli.decide:target",
    "rank": "hiersim.cli.decide:rank",
    "study": "hiersim.cli.study:study",
    "report": "hiersim.cli.report:report",
    "export": "hiersim.cli.simulate:export",
    "fuse": "hiersim.cli.fuse:fuse",
    "capture": "hiersim.cli.capture:capture",
    "import": "hiersim.cli.exchange:import_group",
    "measure": "hiersim.cli.measure:measure",
    "calibrate": "hiersim.cli.calibrate:calibrate",
    "validate": "hiersim.cli.validate:validate",
    "designs": "hiersim.cli.catalog:designs",
    "prices": "hiersim.cli.prices:prices",
    "traces": "hiersim.cli.catalog:traces",
    "define": "hiersim.cli.catalog:define",
}
HELP = {
    "demo": "The main job on bundled real traces, with a report.",
    "run": "Replay one trace on one design.",
    "compare": "A table of designs and fusion policies.",
    "sweep": "Replay over a grid of designs, workloads and policies; stops and goes on.",
    "results": "The results of a sweep: a table, its Pareto front, files for other tools.",
    "explain": "The working sets of a run, one kernel in detail, why two operators are apart.",
    "advise": "What to buy next: what 10 % more of each resource returns.",
    "tornado": "Which part of a design moves a run most.",
    "knees": "How large a tier should be, and what it holds then.",
    "target": "The cheapest design of a grid that is fast enough.",
    "rank": "Which device gives most for its price.",
    "study": "Headline questions, answered by replays beside what people claim.",
    "report": "One HTML page of results, to be mailed.",
    "export": "Write a replay in another tool's form.",
    "fuse": "Write a policy's kernels into a trace, to be edited and replayed.",
    "capture": "Make a trace of a PyTorch model or a JAX function; no GPU, no weights.",
    "import": "Make a trace of a profile, a model file or a table.",
    "measure": "Times of operators and models on this machine's GPU or CPU.",
    "calibrate": "Fit parameters of a design to measured times.",
    "validate": "Predicted against measured, with the error table.",
    "designs": "List, show and check designs.",
    "prices": "What memory costs, from sourced figures; SRAM from silicon.",
    "traces": "List, show and check traces.",
    "define": "The glossary: every key and column, with its unit.",
}
MAX_FAULTS = 20


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from hiersim.errors import nearest

            raise HiersimError(f"'{args[0]}' is not a command", expected=nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"hiersim {__version__}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def main() -> None:
    """Where does the time go, which memory is to blame, and what would it cost to fix it?

    Replays traces of real models, eager and compiled, on memory hierarchies that exist or do not.

    \b
    hiersim demo
    hiersim compare gpt2-large-prefill --design h100-sxm
    hiersim run llama3-8b-decode --design h100-sxm --set memory.hbm.bandwidth=2x
    """


os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else pydantic reads every installed package's metadata


def run(arguments: list[str] | None = None) -> None:
    """Entry point: exit status 0 done, 1 a sound input that cannot be carried out, 2 a wrong input."""
    sys.exit(status(arguments))


def status(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status; every error is printed in one line."""
    try:
        main.main(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        return _fail("interrupted", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        return 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "hiersim"
        return _fail(f"{error.format_message().splitlines()[0]} (see {command} --help)", 2)
    except HiersimError as error:
        return _report(error)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _report(error: HiersimError) -> int:
    faults: list[Any] = [error, *(error.others if isinstance(error, DesignError) else ())]
    for fault in faults[:MAX_FAULTS]:
        click.echo(f"hiersim: {fault}", err=True)
    if len(faults) > MAX_FAULTS:
        click.echo(f"hiersim: and {len(faults) - MAX_FAULTS} more faults", err=True)
    return error.exit_code


def _fail(text: str, code: int) -> int:
    click.echo(f"hiersim: {text}", err=True)
    return code
