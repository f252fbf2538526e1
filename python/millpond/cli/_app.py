"""The commands of ``millpond``. A package each; this file is the list."""

from typing import Annotated

import typer

import millpond
from millpond.cli.bench import _command as bench
from millpond.cli.doctor import _command as doctor
from millpond.cli.size import _command as size
from millpond.cli.top import _command as top

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
app.command("bench", help=bench.HELP)(bench.bench)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.command("size", help=size.HELP)(size.size)
app.command("top", help=top.HELP)(top.top)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        typer.echo(f"millpond {millpond.__version__}")
        raise typer.Exit


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
