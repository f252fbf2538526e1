"""From what a pool is given to the driver that it needs, whether it blocks or is awaited."""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING, Any

from millpond.drivers._options import NOTHING, check_callable, check_supported
from millpond.drivers._session import DEFAULTS, SessionOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.drivers._registry import Registry


class Finder:
    """What `find` and `refine` of both kinds of drivers do.

    Args:
        registry: The drivers of the kind.
        generic: The class for a driver of which nothing is known.
        protocol: What an own driver has to follow.
        takes: What ``connect`` may be beside a URL, for messages.
        bound: Makes the ``connect`` of an own driver out of the callable.
        twin: The pool of the other kind, and the drivers in URL schemes that only that one has.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        generic: Any,  # noqa: ANN401
        protocol: type,
        takes: str,
        bound: Callable[[Any], Any],
        twin: tuple[str, frozenset[str]],
    ) -> None:
        """Store them."""
        self._twin = twin
        self._registry = registry
        self._generic = generic
        self._protocol = protocol
        self._takes = takes
        self._bound = bound

    def find(
        self,
        connect: object,
        *,
        driver: object,
        connect_kwargs: Mapping[str, Any] | None,
        connect_timeout: float | None,
        options: SessionOptions = DEFAULTS,
        needs: Mapping[str, str] = NOTHING,
    ) -> Any:  # noqa: ANN401
        """Return the driver of a pool, ready to connect.

        Raises:
            PoolConfigError: An argument is not valid, the driver is not installed, or it cannot do
                what is asked for.
        """
        if isinstance(connect, str):
            kind = self._for_url(connect, driver)
            # Only where it says something: a driver of others may know nothing of options.
            asked = {} if options == DEFAULTS else {"options": options}
            made = kind.from_url(
                connect, connect_kwargs=connect_kwargs, connect_timeout=connect_timeout, **asked
            )
            check_supported(made, options, needs)
            return made
        if connect_kwargs is not None:
            msg = "connect_kwargs: only with a URL; a callable passes its arguments itself"
            raise PoolConfigError(msg)
        found = self._for_callable(connect, driver)
        check_callable(found, options)
        if not self._is_unknown(found):  # otherwise `refine` will know more
            check_supported(found, options, needs)
        return found

    def refine(
        self,
        driver: Any,  # noqa: ANN401
        conn: Any,  # noqa: ANN401
        *,
        options: SessionOptions = DEFAULTS,
        needs: Mapping[str, str] = NOTHING,
    ) -> Any:  # noqa: ANN401
        """Return the driver to use for a connection, now that it can be looked at.

        Raises:
            PoolConfigError: The connection cannot be pooled, or not in the way that was asked for.
        """
        if not isinstance(driver, self._generic):
            return driver
        refined = self._recognise(driver, type(conn))
        if refined is not driver:
            check_callable(refined, options)
        refined = refined.adopt(conn)
        check_supported(refined, options, needs)
        return refined

    def _recognise(self, driver: Any, kind: type) -> Any:  # noqa: ANN401
        """Return the driver to which a class of connections, or one of its bases, belongs."""
        name = self._registry.of_connection(kind) if self._is_unknown(driver) else None
        if name is None:
            return driver
        return self._registry.load(name)(driver.connect, target=driver.target)

    def _is_unknown(self, driver: object) -> bool:
        return type(driver) is self._generic

    def _for_url(self, url: str, driver: object) -> Any:  # noqa: ANN401  a class with from_url()
        scheme, separator, _ = url.partition("://")
        choices = self._registry.of_scheme(scheme)
        if not separator:
            # It may be a DSN with a password, so it is not shown.
            known = self._known_schemes()
            msg = f"connect: must be a URL or {self._takes}; the known URL schemes are {known}"
            raise PoolConfigError(msg)
        if not choices:
            msg = (
                f"connect: the URL scheme {_show(scheme)} is unknown{self._hint(scheme)}; known "
                f"are {self._known_schemes()}. For other databases pass {self._takes} that connects"
            )
            raise PoolConfigError(msg)
        if driver is not None and driver not in choices:
            allowed = " or ".join(map(repr, choices))
            msg = f"driver={_show(driver)}: must be {allowed} or None for a {scheme} URL"
            raise PoolConfigError(msg)
        return self._registry.load_first(choices if driver is None else (str(driver),))

    def _hint(self, scheme: str) -> str:
        pool, theirs = self._twin
        if scheme.lower().rpartition("+")[2] in theirs:
            return f": it is for {pool}"
        close = difflib.get_close_matches(scheme.lower(), self._registry.schemes(), 1, 0.75)
        return f" (did you mean {close[0]!r}?)" if close else ""

    def _known_schemes(self) -> str:
        return ", ".join(self._registry.schemes())

    def _for_callable(self, connect: object, driver: object) -> Any:  # noqa: ANN401
        if not callable(connect):
            kind = type(connect).__name__
            msg = f"connect=<{kind}>: must be a URL or {self._takes} without arguments"
            raise PoolConfigError(msg)
        if driver is None:
            return self._generic(connect)
        if isinstance(driver, str):
            if driver not in (names := self._registry.names()):
                known = " or ".join(map(repr, names))
                msg = f"driver={_show(driver)}: must be {known}, a Driver or None"
                raise PoolConfigError(msg)
            return self._registry.load(driver)(connect)
        if not isinstance(driver, self._protocol):
            name = self._protocol.__name__
            msg = f"driver={_show(driver)}: must be a name, None, or have all that {name} has"
            raise PoolConfigError(msg)
        made: Any = copy.copy(driver)
        made.connect = self._bound(connect)
        return made


def _show(value: object) -> str:
    # In the wrong place anything may turn up, a URL with a password too.
    is_word = isinstance(value, str) and value.replace("+", "").isalnum()
    return repr(value) if is_word else f"<{type(value).__name__}>"
