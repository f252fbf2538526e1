"""One line of the table of goals."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        goal: What is asked of it.
        measured: What came out.
        reached: Whether that is the goal, or ``None`` if that is for the reader to see.
        elsewhere: What the peers did in the same run.
    """

    what: str
    goal: str
    measured: str
    reached: bool | None
    elsewhere: str = ""
