"""The URLs of ODBC, and the connection strings that they stand for.

* ``odbc:///?odbc_connect=DRIVER%3D...``: a connection string, percent-encoded;
* ``odbc://user:password@name``: a data source of ``odbc.ini``;
* ``odbc://user:password@host:port/database?driver=PostgreSQL+Unicode``: all in the URL. Whatever
  else stands behind the ``?`` are keywords of that driver.

With ``mssql://`` and ``mssql+pyodbc://`` the port is written as SQL Server wants it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from millpond.drivers._url import Parts, refuse, split

if TYPE_CHECKING:
    from collections.abc import Mapping

# What has to be in braces: https://learn.microsoft.com/sql/odbc/reference/syntax/sqldriverconnect-function
_SPECIAL: Final = re.compile(r"[\[\]{}(),;?*=!@]|^\s|\s$")


def is_sql_server(url: str) -> bool:
    """Say whether the scheme promises a SQL Server."""
    return url.lower().startswith("mssql")


def connection_string(url: str, further: Mapping[str, object]) -> str:
    """Return the connection string of a URL.

    Args:
        url: A URL as in the head of this module.
        further: Keywords that win over those in the URL.

    Raises:
        PoolConfigError: The URL is not valid.
    """
    parts = split(url)
    complete = parts.query.pop("odbc_connect", None)
    if complete is not None:
        if parts.host or parts.query:
            refuse(url, "odbc_connect is the whole connection string, with nothing beside it")
        return "".join([complete.rstrip().rstrip(";"), ";", joined(further)])
    given = {key.upper() for key in further}
    words = {key: value for key, value in _words(url, parts).items() if key.upper() not in given}
    return joined({**words, **further})


def joined(words: Mapping[str, object]) -> str:
    """Return keywords and values as a part of a connection string."""
    return "".join(f"{key}={_quoted(key, str(value))};" for key, value in words.items())


def _quoted(key: str, value: str) -> str:
    # SQL Server's comma before the port is not a part of the value, but its syntax.
    special = _SPECIAL.search(value.replace(",", "") if key == "SERVER" else value)
    return "{" + value.replace("}", "}}") + "}" if special else value


def _words(url: str, parts: Parts) -> dict[str, str]:
    words: dict[str, str] = {}
    keys = {key.upper() for key in parts.query}
    if parts.host and "DRIVER" in keys:
        words |= _address(parts, comma=is_sql_server(url))
        if parts.name:
            words["DATABASE"] = parts.name
    elif parts.host:
        if parts.port or parts.name:
            refuse(url, "a host with a port or a database needs driver= behind the question mark")
        words["DSN"] = parts.host
    elif not keys & {"DRIVER", "DSN", "FILEDSN"}:
        refuse(url, "it must have driver=, DSN= or odbc_connect= behind the question mark")
    if parts.user is not None:
        words["UID"] = parts.user
    if parts.password is not None:
        words["PWD"] = parts.password
    return words | parts.query


def _address(parts: Parts, *, comma: bool) -> dict[str, str]:
    host = parts.host or ""
    if parts.port is None:
        return {"SERVER": host}
    if comma:
        return {"SERVER": f"{host},{parts.port}"}
    return {"SERVER": host, "PORT": str(parts.port)}
