"""Which drivers there are: those of this package, and those that others have installed.

To add one here, write ``_name.py`` with a class derived from `Dbapi`, and give it a line below. A
package of its own names its class in its metadata instead, as an entry point:

    [project.entry-points."millpond.drivers"]
    mydb = "mydb_millpond:MyDB"

That driver is for the URL schemes ``mydb`` and ``anything+mydb``, for ``driver="mydb"``, and for
connections whose class is from the package ``mydb``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP: Final = "millpond.drivers"


class _Known(NamedTuple):
    """A driver of this package.

    Attributes:
        kind: The name of the class in ``millpond.drivers._<name>``.
        schemes: The URL schemes that pick it.
        package: Where the class of its connections is defined, if it isn't the driver's name.
        extra: What pip knows it by, if it isn't the driver's name.
    """

    kind: str
    schemes: tuple[str, ...]
    package: str | None = None
    extra: str | None = None


def _both(*drivers: str) -> tuple[str, ...]:
    return tuple(f"{server}+{driver}" for server in ("mysql", "mariadb") for driver in drivers)


_KNOWN: Final = {
    "duckdb": _Known("Duckdb", ("duckdb",), "_duckdb"),
    "mysqlclient": _Known("MySQLClient", _both("mysqldb", "mysqlclient"), "MySQLdb"),
    "mysqlconnector": _Known(
        "MySQLConnector", _both("mysqlconnector"), "mysql", extra="mysql-connector"
    ),
    "oracledb": _Known("Oracledb", ("oracle", "oracle+oracledb")),
    "psycopg": _Known("Psycopg", ("postgres", "postgresql", "postgresql+psycopg")),
    "psycopg2": _Known("Psycopg2", ("postgresql+psycopg2",)),
    "pymysql": _Known("PyMySQL", _both("pymysql")),
    "pyodbc": _Known("Pyodbc", ("mssql", "mssql+pyodbc", "odbc")),
    "redis": _Known("Redis", ("redis", "rediss", "unix")),
    "sqlite3": _Known("Sqlite3", ("sqlite",)),
}
# Schemes for which there are several drivers: the first that can be imported is taken.
_CHOICES: Final = dict.fromkeys(("mysql", "mariadb"), ("mysqlclient", "pymysql", "mysqlconnector"))
_SCHEMES: Final = {scheme: name for name, known in _KNOWN.items() for scheme in known.schemes}
_PACKAGES: Final = {known.package or name: name for name, known in _KNOWN.items()}


def names() -> list[str]:
    """Return the names of all drivers, in order."""
    return sorted({*_KNOWN, *_installed()})


def schemes() -> list[str]:
    """Return the URL schemes of all drivers, in order."""
    return sorted({*_SCHEMES, *_CHOICES, *_installed()})


def of_scheme(scheme: str) -> tuple[str, ...]:
    """Return the names of the drivers for URLs with a scheme, the preferred one first."""
    scheme = scheme.lower()
    if scheme in _CHOICES:
        return _CHOICES[scheme]
    name = _SCHEMES.get(scheme) or _third_party(scheme) or _third_party(scheme.rpartition("+")[2])
    return () if name is None else (name,)


def load_first(choices: Sequence[str]) -> Any:  # noqa: ANN401  a class derived from Dbapi
    """Import the first of some drivers that can be imported.

    Raises:
        PoolConfigError: None of them can.
    """
    failed: list[PoolConfigError] = []
    for name in choices:
        try:
            return load(name)
        except PoolConfigError as error:
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    raise PoolConfigError("; or ".join(map(str, failed))) from failed[0]


def of_connection(kind: type) -> str | None:
    """Return the name of the driver to which a class of connections or one of its bases belongs."""
    for package in _packages(kind):
        name = _PACKAGES.get(package) or _third_party(package)
        if name:
            return name
    return None


def load(name: str) -> Any:  # noqa: ANN401  a class derived from Dbapi
    """Import a driver.

    Raises:
        PoolConfigError: It cannot be imported.
    """
    known = _KNOWN.get(name)
    try:
        if known is None:
            return _installed()[name].load()
        return getattr(import_module(f"millpond.drivers._{name}"), known.kind)
    except ImportError as error:
        advice = f": pip install 'millpond[{known.extra or name}]'" if known else ""
        msg = f"the driver {name} cannot be imported ({error}){advice}"
        raise PoolConfigError(msg) from error


def _third_party(name: str) -> str | None:
    return name if name in _installed() else None


def _packages(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        yield str(base.__module__).partition(".")[0]


# Reading the metadata of everything that is installed takes milliseconds, and is needed only for
# what is not in the tables above.
@cache
def _installed() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=GROUP)}
