"""Which drivers there are: those of this package, and those that others have installed."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class Known(NamedTuple):
    """A driver of this package.

    Attributes:
        kind: The name of the class in ``<folder>._<name>``.
        schemes: The URL schemes that pick it.
        package: Where the class of its connections is defined, if it isn't the driver's name.
        extra: What pip knows it by, if it isn't the driver's name.
    """

    kind: str
    schemes: tuple[str, ...] = ()
    package: str | None = None
    extra: str | None = None


def with_driver(servers: tuple[str, ...], *drivers: str) -> tuple[str, ...]:
    """Return the URL schemes that name a server and a driver, ``server+driver``."""
    return tuple(f"{server}+{driver}" for server in servers for driver in drivers)


class Registry:
    """The drivers of one kind.

    Args:
        group: The group of entry points in which packages of others name theirs.
        folder: The package in which ours are.
        known: Ours, by name.
        choices: Schemes for which there are several drivers: the first that can be imported is
            taken.
    """

    def __init__(
        self,
        *,
        group: str,
        folder: str,
        known: Mapping[str, Known],
        choices: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Sort the tables; nothing is imported."""
        self.known = known
        self._group = group
        self._folder = folder
        self._choices = choices
        self._schemes = {scheme: name for name, one in known.items() for scheme in one.schemes}
        self._packages = {one.package or name: name for name, one in known.items()}
        self._found: dict[str, Any] | None = None

    def names(self) -> list[str]:
        """Return the names of all drivers, in order."""
        return sorted({*self.known, *self._installed()})

    def schemes(self) -> list[str]:
        """Return the URL schemes of all drivers, in order."""
        return sorted({*self._schemes, *self._choices, *self._installed()})

    def of_scheme(self, scheme: str) -> tuple[str, ...]:
        """Return the names of the drivers for URLs with a scheme, the preferred one first."""
        scheme = scheme.lower()
        if scheme in self._choices:
            return self._choices[scheme]
        name = (
            self._schemes.get(scheme)
            or self._third_party(scheme)
            or self._third_party(scheme.rpartition("+")[2])
        )
        return () if name is None else (name,)

    def load_first(self, choices: Sequence[str]) -> Any:  # noqa: ANN401  a class of adapters
        """Import the first of some drivers that can be imported.

        Raises:
            PoolConfigError: None of them can.
        """
        failed: list[PoolConfigError] = []
        for name in choices:
            try:
                return self.load(name)
            except PoolConfigError as error:
                failed.append(error)
        if len(failed) == 1:
            raise failed[0]
        raise PoolConfigError("; or ".join(map(str, failed))) from failed[0]

    def of_connection(self, kind: type) -> str | None:
        """Return the driver to which a class of connections or one of its bases belongs."""
        for package in _packages(kind):
            name = self._packages.get(package) or self._third_party(package)
            if name:
                return name
        return None

    def load(self, name: str) -> Any:  # noqa: ANN401  a class of adapters
        """Import a driver.

        Raises:
            PoolConfigError: It cannot be imported.
        """
        known = self.known.get(name)
        try:
            if known is None:
                return self._installed()[name].load()
            return getattr(import_module(f"{self._folder}._{name}"), known.kind)
        except ImportError as error:
            advice = f": pip install 'millpond[{known.extra or name}]'" if known else ""
            msg = f"the driver {name} cannot be imported ({error}){advice}"
            raise PoolConfigError(msg) from error

    def _third_party(self, name: str) -> str | None:
        return name if name in self._installed() else None

    # Reading the metadata of everything that is installed takes milliseconds, and is needed only
    # for what is not in the tables.
    def _installed(self) -> dict[str, Any]:
        if self._found is None:
            self._found = {point.name: point for point in entry_points(group=self._group)}
        return self._found


def _packages(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        yield str(base.__module__).partition(".")[0]
