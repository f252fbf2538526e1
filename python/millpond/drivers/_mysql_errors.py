"""The error numbers of MySQL and MariaDB, and of their client libraries."""

from __future__ import annotations

from typing import Final

# The server says farewell: shutdown (1053), aborted (1080, 1152), network trouble (1158 to 1161),
# killed (1927), idle for too long (4031). From 2000 on, the client has lost it.
_GONE: Final = frozenset(
    {1053, 1080, 1152, 1158, 1159, 1160, 1161, 1927, 4031} | {2006, 2013, 2027, 2045, 2048, 2055}
)

# 1290 stands for other options of the server as well.
_READ_ONLY: Final = 1836
_FORBIDDEN_BY_OPTION: Final = 1290

# KILL QUERY, also while sorting; max_statement_time (MariaDB); max_execution_time (MySQL).
_CANCELLED: Final = frozenset({1028, 1317, 1969, 3024})

# A row changed since the snapshot (MariaDB), lock wait timeout, deadlock, and a commit that group
# replication refused.
_RETRYABLE: Final = frozenset({1020, 1205, 1213, 3101})

# Wrong user or password, no right to the database, no such database, host not allowed, expired
# password, wrong authentication plugin: the next attempt will end in the same way.
_REFUSED: Final = frozenset({1044, 1045, 1049, 1130, 1251, 1524, 1698, 1820, 1862, 2059, 2061})

# "Unknown thread id": who was to be killed is gone already.
NO_SUCH_THREAD: Final = 1094
# "Commands out of sync": there is a result that was not read.
OUT_OF_SYNC: Final = 2014


def is_gone(code: int) -> bool:
    """Say whether the connection is gone."""
    return code in _GONE


def is_read_only(code: int, message: str) -> bool:
    """Say whether the server as a whole takes no writes."""
    if code == _FORBIDDEN_BY_OPTION:
        return "read-only" in message or "read_only" in message
    return code == _READ_ONLY


def is_cancelled(code: int) -> bool:
    """Say whether a statement was ended by KILL QUERY, or by the server's own time limit."""
    return code in _CANCELLED


def is_retryable(code: int) -> bool:
    """Say whether the transaction may succeed when it is repeated."""
    return code in _RETRYABLE


def is_refused(code: int) -> bool:
    """Say whether connecting again will be refused again."""
    return code in _REFUSED
