"""The errors of `millpond.dbutils.pooled_db`, which is where they are imported from."""

from __future__ import annotations

from millpond import errors


class PooledDBError(Exception):
    """The root of this module's errors."""

    __module__ = "millpond.dbutils.pooled_db"


class InvalidConnectionError(PooledDBError):
    """The connection was closed, so it has no attributes any more."""

    __module__ = "millpond.dbutils.pooled_db"


class NotSupportedError(PooledDBError):
    """The driver is not safe for use by threads."""

    __module__ = "millpond.dbutils.pooled_db"


class TooManyConnectionsError(PooledDBError):
    """The pool is at its limit, and may not or can't wait."""

    __module__ = "millpond.dbutils.pooled_db"


# What `pool_options` bring with them. They are what both libraries' users catch.


class AcquireTimeoutError(
    TooManyConnectionsError,
    errors.for_driver(None).timeout,  # type: ignore[misc]  # made at run time
):
    """No connection came back within the ``acquire_timeout``. Also a `millpond.PoolTimeout`."""

    __module__ = "millpond.dbutils.pooled_db"

    __reduce__ = Exception.__reduce__


class TooManyWaitersError(TooManyConnectionsError, errors.PoolExhausted):
    """``max_waiting`` callers are waiting already. Also a `millpond.PoolExhausted`."""

    __module__ = "millpond.dbutils.pooled_db"
