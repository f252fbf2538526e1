"""The doctor's findings, and a rule's page, for people."""

import textwrap
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from millpond.cli._output import print_wrapped, width_of
from millpond.doctor import SEVERITIES, Change, Finding, Rule
from millpond.doctor.ask import printable

__all__ = ["print_findings", "print_page"]

_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
_NOUNS = {"error": "error", "warning": "warning", "info": "hint"}
_INDENT = " " * 4


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print each finding with its evidence and what to change, then how many there are."""
    for finding in findings:
        _print_finding(console, finding)
    console.print(Text(_summary(findings)), soft_wrap=True)
    if findings:
        worst = min(findings, key=lambda finding: SEVERITIES.index(finding.severity))
        console.print(Text(f"Why, and how to fix it: millpond doctor --explain {worst.code}"))


def print_page(console: Console, rule: Rule) -> None:
    """Print the page of a rule."""
    head = Text.assemble((rule.code, "bold"), "  ", (rule.severity, _STYLES[rule.severity]))
    console.print(head.append(f"  {rule.title}", "bold"), soft_wrap=True)
    console.print()
    page = rule.page or "Python was started with -OO and has no explanations; start it without."
    for block in page.split("\n\n"):
        # Code is indented, and stays as it is.
        prose = not any(line.startswith("    ") for line in block.splitlines())
        text = textwrap.fill(block, width_of(console)) if prose else block
        console.print(Text(f"{text}\n"), soft_wrap=True)


def _print_finding(console: Console, finding: Finding) -> None:
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    head = Text.assemble((f"{printable(where)}  " if where else "", "bold"))
    head.append(finding.severity, _STYLES[finding.severity]).append(f" {finding.code}")
    title = f"  {finding.title}"
    if len(head) + len(title) <= console.width:
        console.print(head.append(title), soft_wrap=True)
    else:
        console.print(head, soft_wrap=True)
        _indented(console, f"{finding.title}:")
    _indented(console, finding.message)
    # A line that is changed is its own evidence; one that is added is not.
    if finding.evidence and (finding.change is None or not finding.change.before):
        _print_source(console, finding.evidence, finding.line)
    if finding.change is not None:
        _print_change(console, finding.change)
    if finding.fix:
        _indented(console, f"Fix: {finding.fix}.")
    console.print()


def _indented(console: Console, text: str, style: str = "") -> None:
    shown = " ".join(map(_printable, text.splitlines()))
    print_wrapped(console, shown, style, first=_INDENT, rest=_INDENT)


def _print_source(console: Console, source: str, line: int | None) -> None:
    if line is None:
        # No line of a file: numbers, errors, or who holds what.
        for each in source.splitlines():
            _indented(console, each, "dim")
        return
    number = f"{line} | "
    for text in textwrap.dedent(source).splitlines():
        (shown,) = _cut([_printable(text.rstrip())], _width(console) - len(number))
        console.print(Text(f"    {number}{shown}", "dim"), soft_wrap=True)
        number = " " * len(number)


def _print_change(console: Console, change: Change) -> None:
    lines = [change.before, change.after]
    dedented = textwrap.dedent("\n".join(lines)).split("\n")
    before, after = _cut(list(map(_printable, dedented)), _width(console) - 2)
    if change.before:
        console.print(Text(f"    - {before}", "red"), soft_wrap=True)
    if change.after:
        console.print(Text(f"    + {after}", "green"), soft_wrap=True)


def _printable(source: str) -> str:
    """Return a line of a file or a log, which may be anybody's, without what moves a cursor."""
    return printable(source.expandtabs())


def _width(console: Console) -> int:
    """Return how many columns there are beside the indent."""
    return width_of(console) - len(_INDENT)


def _cut(lines: list[str], width: int) -> list[str]:
    """Return lines that fit, with what they differ in, and ``…`` for what is left out."""
    longest = max(map(len, lines))
    if longest <= width:
        return lines
    # What all lines begin with says least, and what they end with, too.
    columns = zip(*lines, strict=False) if len(lines) > 1 and all(lines) else ()
    differ = next((number for number, column in enumerate(columns) if len(set(column)) > 1), 0)
    start = max(0, min(differ - width // 3, longest - width))
    return [_window(line, start, width) for line in lines]


def _window(line: str, start: int, width: int) -> str:
    head = "…" if start else ""
    rest = line[start + len(head) :]
    room = width - len(head)
    return head + (rest if len(rest) <= room else f"{rest[: room - 1]}…")


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        f"{counts[severity]} {_NOUNS[severity]}{'s' * (counts[severity] > 1)}"
        for severity in SEVERITIES
        if counts[severity]
    ]
    return ", ".join(parts) + "." if parts else "Nothing to complain about."
