"""The commands of ``millpond``. One file each; this one is the list."""

from typing import Annotated

import typer

import millpond
from millpond.cli import _bench

__all__ = ["app"]

# Plain messages: a box around an error breaks its lines where nobody can search for them. And no
# local variables in tracebacks: one of them is a URL with a password.
app = typer.Typer(
    name="millpond",
    help="Tools around millpond, the connection pool.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("bench", help=_bench.HELP)(_bench.bench)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        typer.echo(f"millpond {millpond.__version__}")
        raise typer.Exit


# A callback also keeps `bench` a subcommand while it is the only one.
@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version
