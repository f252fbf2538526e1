"""What the doctor says: `Finding`, and what a rule gives to make one of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["SEVERITIES", "Change", "Finding", "Place", "Remark", "Severity"]

Severity: TypeAlias = Literal["error", "warning", "info"]

SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "info")
"""From the worst to the mildest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands.

    Attributes:
        file: The file, as it was named by the caller. ``None`` for what is in no file.
        line: The line, counted from 1. ``None`` for the file as a whole.
        source: The text of that line; empty if there is none. The engine hides its passwords.
    """

    file: str | None = None
    line: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One line before and after, as a diff shows it.

    Attributes:
        before: The line as it is; empty if one is to be added.
        after: The line as it should be; empty if it is to go.
    """

    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What the check of a rule yields. The engine adds what it knows of the rule.

    Attributes:
        message: What is wrong here, in a sentence, with the names and values of this case.
        place: Where; ``None`` for the place of the subject.
        evidence: What shows it, if that is not the source line.
        fix: What to do about it, in a sentence.
        change: The line to change, where that can be said exactly.
        severity: Instead of the rule's, if this case is better or worse than the others.
    """

    message: str
    place: Place | None = None
    evidence: str = ""
    fix: str = ""
    change: Change | None = None
    severity: Severity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or could be better.

    Attributes:
        code: The rule's code, such as ``"MP101"``. Codes never change their meaning.
        severity: ``"error"``, ``"warning"`` or ``"info"``.
        title: What the rule is about, in a few words.
        message: What is wrong here, in a sentence.
        evidence: The source line, or the numbers that show it; without passwords.
        file: Where, if it is in a file.
        line: The line there, counted from 1.
        fix: What to do about it, in a sentence.
        change: The line to change, where that can be said exactly.
    """

    code: str
    severity: Severity
    title: str
    message: str
    evidence: str = ""
    file: str | None = None
    line: int | None = None
    fix: str = ""
    change: Change | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the keys are the names of the attributes."""
        return asdict(self)

    @property
    def order(self) -> tuple[object, ...]:
        """What findings are sorted by: file and line, then the worst first."""
        where = (self.file is not None, self.file or "", self.line or 0)
        return (*where, SEVERITIES.index(self.severity), self.code, self.message)
