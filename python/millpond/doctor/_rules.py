"""What a rule is, and how a module of rules is written.

A module of rules makes one `Rules` for the kind of subject that it looks at, and adds functions.
The docstring of such a function is the rule's page, which ``millpond doctor --explain`` shows, so
that a rule and its explanation can't be apart:

    RULES: Final = Rules(PoolOptions)

    @RULES.add("MP199", "warning", "the pool is green")
    def green(options: PoolOptions) -> Iterator[Remark]:
        '''Green pools grow algae.

        At 3 a.m.: ...

        Fix: ...

        Before:
            ...

        After:
            ...
        '''
        if options.value("color") == "green":
            yield Remark(message="color='green': algae", fix="paint it blue")

A check yields a `Remark` for each case, and nothing where it is not certain: a false alarm costs
more trust than a finding that is missing. What is unknown (`UNKNOWN`) is not guessed at.

Codes: MP0xx what could not be read, MP1xx configuration, MP2xx code, MP3xx server, MP4xx workload,
MP5xx running process.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from millpond.doctor._findings import Change, Finding, Place, Remark, Severity
from millpond.doctor._secrets import hide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Rule", "Rules"]

S = TypeVar("S")

_CODE: Final = re.compile(r"MP\d{3}")
_SUPPRESSED: Final = re.compile(r"#\s*millpond:\s*ignore(?:\[(?P<codes>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        code: Its stable code.
        severity: How bad it usually is.
        title: What is wrong, in a few words.
        subject: The class of what it looks at.
        check: Called with such a subject; yields what is wrong with it.
    """

    code: str
    severity: Severity
    title: str
    subject: type[Any]
    check: Callable[[Any], Iterable[Remark]]

    @property
    def page(self) -> str:
        """The explanation, as Markdown; empty if Python was told to drop docstrings (``-OO``)."""
        return inspect.getdoc(self.check) or ""

    def examine(self, subject: object, place: Place) -> Iterator[Finding]:
        """Check one subject.

        Args:
            subject: An instance of `subject`.
            place: Where the subject stands, for remarks that don't say where.
        """
        for remark in self.check(subject):
            at = remark.place or place
            if _is_suppressed(self.code, at.source) or _is_suppressed(self.code, place.source):
                continue
            yield Finding(
                code=self.code,
                severity=remark.severity or self.severity,
                title=self.title,
                message=hide(remark.message),
                evidence=hide(remark.evidence or at.source),
                file=at.file,
                line=at.line,
                fix=remark.fix,
                change=remark.change and _hidden(remark.change),
            )


def _is_suppressed(code: str, source: str) -> bool:
    """Whether a line's comment asks for silence: ``# millpond: ignore[MP101, MP2]``."""
    found = _SUPPRESSED.search(source)
    if found is None:
        return False
    codes = [each.strip() for each in (found["codes"] or "").split(",")]
    return any(code.startswith(each) for each in codes)


def _hidden(change: Change) -> Change:
    return Change(hide(change.before), hide(change.after))


class Rules(Generic[S]):
    """The rules of a module about one kind of subject, in the order in which they were added."""

    def __init__(self, subject: type[S]) -> None:
        self._subject = subject
        self._rules: list[Rule] = []

    def add(
        self, code: str, severity: Severity, title: str
    ) -> Callable[[Callable[[S], Iterable[Remark]]], Callable[[S], Iterable[Remark]]]:
        """Make a function's check, and its docstring's page, a rule.

        Args:
            code: ``MP`` and three digits; unique among all rules.
            severity: How bad it usually is. A remark may say otherwise.
            title: What is wrong, in a few words.

        Raises:
            ValueError: The code is none.
        """
        if not _CODE.fullmatch(code):
            msg = f"code={code!r}: must be MP and three digits"
            raise ValueError(msg)

        def add(check: Callable[[S], Iterable[Remark]]) -> Callable[[S], Iterable[Remark]]:
            self._rules.append(Rule(code, severity, title, self._subject, check))
            return check

        return add

    def __iter__(self) -> Iterator[Rule]:
        """Return the rules one by one."""
        return iter(self._rules)
