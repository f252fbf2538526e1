"""The child of a fork begins clean: what was opened in the parent stays the parent's."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

from millpond._core import fork_generation, leak

__all__ = ["Heir", "fork_generation", "leak", "register"]


class Heir(Protocol):
    """Something that finds itself in the child of a fork, with its parent's connections."""

    def _begin_in_child(self) -> None:
        """Become as good as new, without a word to the parent's servers."""


# By identity, since a subclass may compare as it likes.
_heirs: Final[weakref.WeakValueDictionary[int, Heir]] = weakref.WeakValueDictionary()


def register(heir: Heir) -> None:
    """Have `heir` begin anew in the child of a fork, before any code there can use it."""
    _heirs[id(heir)] = heir


def _after_fork_in_child() -> None:
    for heir in list(_heirs.values()):
        heir._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
