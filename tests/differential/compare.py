"""Two implementations tell the same script: where do they part, and is that on purpose?"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from differential.differences import Difference, explanation
from differential.player import Step, play
from differential.situations import Situation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from differential.implementations import Implementation
    from differential.scripts import Script


@dataclass(frozen=True)
class Parting:
    """The first step that differs.

    Attributes:
        where: The step, and how it came to it.
        difference: The deliberate difference that explains it, or `None`.
    """

    where: Situation
    difference: Difference | None

    def __str__(self) -> str:
        """Tell the story up to here, and both of its endings."""
        lines = [f"{self.where.script!r}", "", "step by step:"]
        lines += [f"  {step.operation} -> {step.outcome}" for step in self.where.steps[:-1]]
        lines += ["", f"then {self.where.theirs.operation}:"]
        for field in fields(Step):
            theirs = getattr(self.where.theirs, field.name)
            ours = getattr(self.where.ours, field.name)
            for path, one, other in _differences(theirs, ours, field.name):
                lines += [path, f"  first:  {one!r}", f"  second: {other!r}"]
        return "\n".join(lines)


def _differences(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Give what is not the same, and where it is."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from _differences(one[key], other[key], f"{path}.{key}")
    elif one != other:
        yield path, one, other


def parting(script: Script, first: Implementation, second: Implementation) -> Parting | None:
    """Find where two implementations part; `None` if they agree to the end."""
    theirs, ours = play(script, first), play(script, second)
    for number, (one, other) in enumerate(zip_longest(theirs, ours)):
        if one != other:
            where = Situation(script, theirs[: number + 1], one, other)
            return Parting(where, explanation(where))
    return None


def unexplained(script: Script, first: Implementation, second: Implementation) -> Parting | None:
    """Find where two implementations part for no reason that is known."""
    found = parting(script, first, second)
    return found if found is not None and found.difference is None else None


def shortest(script: Script, first: Implementation, second: Implementation) -> Parting | None:
    """Leave out of a script all that has no part in how two implementations part.

    Hypothesis could do that, too, but takes minutes where this takes a second.
    """
    found = unexplained(script, first, second)
    smaller = found
    while smaller is not None:
        found = smaller
        tries = (unexplained(one, first, second) for one in _shorter(found.where.script))
        smaller = next((one for one in tries if one is not None), None)
    return found


def both_tellings(found: Parting, first: Implementation, second: Implementation) -> str:
    """Say all that it takes to see a parting again: the story as it was, and the shortest one.

    A story that does not part again is said to do so: what it depends on is not in the script.
    """
    short = shortest(found.where.script, first, second)
    again = str(short) if short is not None else "The same script does not part a second time."
    return f"{again}\n\nIt was found as:\n\n{found}"


def _shorter(script: Script) -> Iterator[Script]:
    """Give the scripts that lack one thing which this one has."""
    if script.hooked:
        yield replace(script, hooked=False)
    if script.connect:
        yield replace(script, connect={})
    for name in script.options:
        yield replace(script, options={k: v for k, v in script.options.items() if k != name})
    for number in reversed(range(len(script.operations))):
        rest = script.operations[:number] + script.operations[number + 1 :]
        yield replace(script, operations=rest)
    usual = type(script.kind)()
    for field in fields(usual):
        if getattr(script.kind, field.name) != getattr(usual, field.name):
            kind = replace(script.kind, **{field.name: getattr(usual, field.name)})
            yield replace(script, kind=kind)
