"""``millpond doctor``: what to look at in, findings or JSON out."""

from pathlib import Path
from typing import Annotated

import typer

from millpond.cli._options import MILLISECONDS, WORKERS, blaming, number, seconds
from millpond.cli._output import new_console, print_json
from millpond.cli.doctor._outside import Arrivals, Outside
from millpond.cli.doctor._print import print_findings, print_page
from millpond.doctor import RULES, Selection, examine, read_config, read_paths

__all__ = ["HELP", "doctor"]

HELP = """Say what is wrong with how pools are configured and used.

Python files are read and not run. Without a PATH it is the current folder. The exit code is 0 if
there is nothing but hints, 1 if there are warnings or errors, and 2 after wrong usage.
"""


def doctor(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Python files, TOML files with pools, or folders of them. Tests in a folder are "
            "left out, unless it is a folder of tests.",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A TOML file of [pool] or [[pool]] tables, one for each pool."
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Print the page of a rule, or 'all' for the list."),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="KEYWORDS", help="A pool in words, such as 'max_size=20, acquire_timeout=2'."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Ask this server for its limits; 'env' is what DATABASE_URL says."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(parser=WORKERS, metavar="N", help="Processes that each have these pools."),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(
            parser=number(int, 1, 1_000_000_000), metavar="N", help="Users at the same time."
        ),
    ] = None,
    query_ms: Annotated[
        float | None,
        typer.Option(parser=MILLISECONDS, metavar="MS", help="How long a user holds a connection."),
    ] = None,
    think_ms: Annotated[
        float,
        typer.Option(
            parser=number(float, 0.0, 1e9),
            metavar="MS",
            help="Pause of a user between two of these.",
        ),
    ] = 1000.0,
    pattern: Annotated[Arrivals, typer.Option(help="How users come.")] = Arrivals.STEADY,
    http_timeout: Annotated[
        float | None,
        typer.Option(
            parser=number(float, 1e-3, 1e6),
            metavar="SECONDS",
            help="How long users wait for an answer.",
        ),
    ] = None,
    errors: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What an error says; @FILE is a log, of any size."),
    ] = None,
    process: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="The /pool.json of a running process, or a file; several times."
        ),
    ] = None,
    select: Annotated[
        str, typer.Option(metavar="CODES", help="Only these rules: MP101,MP2 and so on.")
    ] = "",
    ignore: Annotated[str, typer.Option(metavar="CODES", help="Without these rules.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the text.")
    ] = False,
) -> None:
    """Look, and print what was found.

    Raises:
        typer.BadParameter: An option's value is not allowed. The message names both, and what is.
        typer.Exit: With 1 if something was found that is worse than a hint.
    """
    if explain is not None:
        _explain(explain)
        return
    selection = _selection(select, ignore)
    outside = Outside(
        pool=pool,
        server=server,
        workers=workers,
        users=users,
        query=seconds(query_ms),
        think=think_ms / 1000,
        pattern=pattern.value,
        http_timeout=http_timeout,
        errors=errors,
        processes=tuple(process or ()),
    )
    subjects = _subjects(paths or [], config, outside)
    findings = examine(subjects, selection)
    if as_json:
        print_json({"findings": [each.to_dict() for each in findings]})
    else:
        print_findings(new_console(), findings)
    if any(finding.severity != "info" for finding in findings):
        raise typer.Exit(1)


def _explain(code: str) -> None:
    console = new_console()
    if code.lower() == "all":
        for each in RULES.values():
            console.print(f"{each.code}  {each.severity:7}  {each.title}")
        return
    rule = RULES.get(code.upper())
    if rule is None:
        message = f"there is no rule {code!r}; 'millpond doctor --explain all' lists them"
        raise typer.BadParameter(message, param_hint="'--explain'")
    print_page(console, rule)


def _selection(select: str, ignore: str) -> Selection:
    def codes(text: str) -> tuple[str, ...]:
        return tuple(code.strip().upper() for code in text.split(",") if code.strip())

    with blaming(None):
        return Selection(codes(select), codes(ignore))


def _subjects(paths: list[Path], config: Path | None, outside: Outside) -> list[object]:
    """Return what is looked at."""
    subjects: list[object] = []
    with blaming(None):
        if config is not None:
            subjects += read_config(config)
        if paths or (config is None and not outside.is_all):
            subjects += read_paths(paths or [Path()])
    return subjects + outside.subjects(subjects)
