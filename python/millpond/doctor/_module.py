"""A Python file as the rules about code see it."""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING, Final

from millpond.doctor import _acquire
from millpond.doctor._bindings import Bindings, Pooled
from millpond.doctor._findings import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from millpond.doctor._acquire import Acquisition, Grip, Hold
    from millpond.doctor._options import PoolOptions
    from millpond.doctor._source import Source

__all__ = ["Module"]

_DEPENDS: Final = {"fastapi.Depends", "fastapi.params.Depends", "fastapi.Security"}


class Module:
    """A file with its pools, and what is done with their connections.

    Args:
        source: The file.
        elsewhere: Called with a dotted name; returns what another file has under it.
    """

    def __init__(
        self, source: Source, elsewhere: Callable[[str], Pooled | None] = lambda _: None
    ) -> None:
        self.source = source
        self.bindings = Bindings(source, elsewhere)

    @property
    def place(self) -> Place:
        """The file as a whole."""
        return Place(self.source.file)

    @property
    def pools(self) -> Mapping[ast.Call, PoolOptions]:
        """The calls that make a pool, and its configuration."""
        return self.bindings.pools

    @cached_property
    def dependencies(self) -> frozenset[str]:
        """The functions that FastAPI calls for each request, by ``Depends(function)``."""
        return frozenset(
            call.args[0].id
            for call in self.source.calls()
            if self.source.qualified(call.func) in _DEPENDS
            and call.args
            and isinstance(call.args[0], ast.Name)
        )

    @cached_property
    def acquisitions(self) -> dict[ast.Call, Acquisition]:
        """Every call that acquires a connection."""
        return _acquire.acquisitions(self.source, self.bindings)

    @cached_property
    def holds(self) -> Sequence[Hold]:
        """Every block that holds a connection."""
        return _acquire.holds(self.source, self.acquisitions)

    @cached_property
    def grips(self) -> Sequence[Grip]:
        """Every assignment of a connection that is to be released by hand."""
        return _acquire.grips(self.source, self.acquisitions)
