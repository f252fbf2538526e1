"""What somebody looks at in ``millpond top``, and what each key does to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from millpond.cli._pools import Key, PoolView
from millpond.cli.top._columns import sort_pools

__all__ = ["View"]

_PAGE = 10

_DIGITS = list("1234567890")
"""The keys that sort by a column, from left to right."""


@dataclass
class View:
    """What is shown, and how.

    Attributes:
        sort: The column to sort by.
        reverse: Whether the other way round.
        selected: The pool that the cursor is on.
        detail: Whether that pool is shown instead of the list.
        scroll: How many connections of it are above the window.
        paused: Whether the numbers stand still.
        done: Whether it is over.
    """

    sort: int = 0
    reverse: bool = False
    selected: Key | None = None
    detail: bool = False
    scroll: int = 0
    paused: bool = False
    done: bool = False

    def arrange(self, pools: Sequence[PoolView]) -> list[PoolView]:
        """Return the pools in their order, and see to it that one of them is selected."""
        arranged = sort_pools(pools, self.sort, reverse=self.reverse)
        is_gone = self.selected not in [pool.key for pool in arranged]
        # A pool that is gone while it is looked at may come back: its process starts anew.
        if arranged and is_gone and not self.detail:
            self.selected = arranged[0].key
        return arranged

    def press(self, key: str, pools: Sequence[PoolView], shown: Sequence[int]) -> None:
        """Do what ``key`` means, with these pools and those of ``COLUMNS`` that can be seen."""
        if key in {"q", "Q"}:
            self.done = True
        elif key in {"p", " "}:
            self.paused = not self.paused
        elif key in {"up", "k", "down", "j", "page up", "page down", "home", "end"}:
            self._move(_STEPS[key], pools)
        elif key in {"enter", "right", "l"}:
            self.detail, self.scroll = self.selected is not None, 0
        elif key in {"escape", "left", "h"}:
            self.detail = False
        else:
            self._sort(key, shown)

    def _move(self, step: int, pools: Sequence[PoolView]) -> None:
        if self.detail:
            self.scroll = max(0, self.scroll + step)
            return
        keys = [pool.key for pool in self.arrange(pools)]
        if self.selected in keys:
            place = max(0, min(keys.index(self.selected) + step, len(keys) - 1))
            self.selected = keys[place]

    def _sort(self, key: str, shown: Sequence[int]) -> None:
        if key in {"s", "S"}:
            step = 1 if key == "s" else -1
            place = shown.index(self.sort) if self.sort in shown else 0
            self.sort, self.reverse = shown[(place + step) % len(shown)], False
        elif key == "r":
            self.reverse = not self.reverse
        elif key in _DIGITS[: len(shown)]:
            column = shown[_DIGITS.index(key)]
            self.reverse = column == self.sort and not self.reverse
            self.sort = column


_STEPS = {
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "page up": -_PAGE,
    "page down": _PAGE,
    "home": -1_000_000,
    "end": 1_000_000,
}
