"""What could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._project import Unreadable
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

RULES: Final = Rules(Unreadable)


@RULES.add("MP001", "info", "a file was not read")
def unreadable(file: Unreadable) -> Iterator[Remark]:
    """The doctor could not read a file, and says nothing about what is in it.

    It is no Python of the version that runs the doctor, has another encoding than it says, or is
    very large.

    At 3 a.m.: nothing, unless the pool that failed is in this file.

    Fix: run the doctor with the Python of the project, or leave the file out.

    Before:
        print "a script of 2009"

    After:
        print("a script of 2009")
    """
    yield Remark(message=file.reason, fix="correct it, or leave it out")
