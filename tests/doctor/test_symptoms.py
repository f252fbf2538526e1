"""Errors in words: each kind is recognised, counted, and answered with what to set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor.patients import configured, findings, found
from millpond.doctor import examine
from millpond.doctor.outside._anchors import alternatives, anchor
from millpond.doctor.outside._symptoms import KINDS, read_errors, read_log
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from millpond.doctor import PoolOptions
    from millpond.doctor.outside._symptoms import Symptoms

SQLALCHEMY = configured("sqlalchemy.create_engine")
DJANGO = configured("django")

CODES = {
    "pool-full": "MP411",
    "shed": "MP412",
    "server-full": "MP413",
    "role-full": "MP414",
    "cut": "MP415",
    "closed": "MP416",
    "shared": "MP417",
    "other-loop": "MP418",
    "prepared": "MP419",
    "sqlite-locked": "MP420",
    "sqlite-thread": "MP421",
    "idle-transaction": "MP422",
    "statement-timeout": "MP423",
    "pool-closed": "MP424",
    "restarted": "MP425",
    "unreachable": "MP426",
    "failed-transaction": "MP427",
    "conflict": "MP428",
    "leak": "MP429",
    "starved": "MP430",
    "slow-statements": "MP431",
    "slow-connects": "MP432",
    "nested": "MP433",
}

# As they were seen, from those that a test cannot have at hand; `test_symptoms_of_libraries.py`
# has the others make theirs.
SAMPLES = {
    "pool-full": [
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
        "mysql.connector.errors.PoolError: Failed getting connection; pool exhausted",
        "psycopg2.pool.PoolError: connection pool exhausted",
        "millpond.PoolExhausted: pool 'orders' has no connection that is free, and on_exhausted=",
        "redis.exceptions.ConnectionError: Too many connections",
        "dbutils.pooled_db.TooManyConnectionsError",
    ],
    "server-full": [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for non-replication superuser connections",
        "pymysql.err.OperationalError: (1040, 'Too many connections')",
        "redis.exceptions.ConnectionError: max number of clients reached",
        "ERROR:  no more connections allowed (max_client_conn)",
        "asyncpg.exceptions.TooManyConnectionsError: sorry, too many clients already",
    ],
    "role-full": [
        'FATAL:  too many connections for database "shop"',
        'asyncpg.exceptions.TooManyConnectionsError: too many connections for role "app"',
        "(1203, \"User app already has more than 'max_user_connections' active connections\")",
    ],
    "leak": ["  a leak is suspected: use acquired connections in a with block"],
    "starved": ["  callers with priority='high' were served first, 3 of them during this wait"],
    "slow-statements": ["  connections are in use for long: look for slow statements or locks"],
    "slow-connects": ["  connecting is slow: check the database, or keep more open with min_size"],
    "nested": [
        "  this thread waits for itself: release a connection first, or raise max_size",
        "  this task waits for itself: release a connection first, or raise max_size",
    ],
    "shed": ["psycopg_pool.TooManyRequests: the pool 'pool-1' has already 10 requests waiting"],
    "cut": [
        "consuming input failed: server closed the connection unexpectedly",
        "django.db.utils.OperationalError: (2006, 'MySQL server has gone away')",
        "(2013, 'Lost connection to MySQL server during query')",
        "psycopg2.OperationalError: SSL connection has been closed unexpectedly",
        "asyncpg: connection was closed in the middle of operation",
        "(4031, 'The client was disconnected by the server because of inactivity.')",
    ],
    "closed": ["django.db.utils.InterfaceError: connection already closed"],
    "shared": [
        "pymysql.err.InternalError: Packet sequence number wrong - got 1 expected 2",
        '(2014, "Commands out of sync; you can\'t run this command now")',
        "psycopg2.OperationalError: SSL error: decryption failed or bad record mac",
        "InterfaceError: cannot perform operation: another operation is in progress",
    ],
    "other-loop": [
        "RuntimeError: Task <...> got Future <...> attached to a different loop",
        "RuntimeError: Event loop is closed",
    ],
    "prepared": [
        'psycopg.errors.DuplicatePreparedStatement: prepared statement "_pg3_0" already exists',
        'prepared statement "__asyncpg_stmt_1__" does not exist',
    ],
    "sqlite-locked": ["sqlite3.OperationalError: database is locked"],
    "sqlite-thread": [
        "SQLite objects created in a thread can only be used in that same thread. The object",
    ],
    "idle-transaction": ["FATAL:  terminating connection due to idle-in-transaction timeout"],
    "statement-timeout": [
        "(3024, 'Query execution was interrupted, maximum statement execution time exceeded')",
        "(1969, 'Query execution was interrupted (max_statement_time exceeded)')",
    ],
    "pool-closed": ["psycopg_pool.PoolClosed: the pool 'pool-1' is already closed"],
    "restarted": ["FATAL:  the database system is starting up"],
    "unreachable": [
        'connection to server at "db", port 5432 failed: Connection refused',
        "(2003, \"Can't connect to MySQL server on 'db' ([Errno 111])\")",
        'could not translate host name "db" to address: Name or service not known',
    ],
    "failed-transaction": [
        "Can't reconnect until invalid transaction is rolled back.",
    ],
    "conflict": [
        "(1213, 'Deadlock found when trying to get lock; try restarting transaction')",
        "(1205, 'Lock wait timeout exceeded; try restarting transaction')",
    ],
}

# What has similar words, and is no error of these kinds.
HARMLESS = [
    "INFO QueuePool created with size 5 overflow 10",
    "LOG:  connection authorized: user=app database=shop",
    "the pool has 10 connections, 3 in use",
    'ERROR: relation "statement_timeouts" does not exist',
    "prepared the statement of the customer's account",
    "database is up to date",
    "the door is locked",
    "GET /clients?many=too HTTP/1.1 200",
    "operation is in progress",
    "idle in transaction",
    "deadlock_timeout = 1s",
    "werkzeug.exceptions.TooManyRequests: 429 Too Many Requests",
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='pay'): Connection refused",
    "urllib3.exceptions.ProtocolError: ('Connection aborted.', 'Connection reset by peer')",
    "recv() failed (104: Connection reset by peer) while reading response header from upstream",
]


def kinds(log: Symptoms) -> list[str]:
    """Return the kinds that were met."""
    return sorted(log.counts)


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in SAMPLES.items() for text in texts]
)
def test_an_error_is_of_its_kind_and_no_other(kind: str, text: str) -> None:
    log = read_errors(text)

    assert kinds(log) == [kind]
    assert [finding.code for finding in examine([log])] == [CODES[kind]]
    finding = found(CODES[kind], log)
    assert finding.message.startswith("the error: ")
    assert finding.evidence == text.strip()


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_sounds_like_it_is_nothing(text: str) -> None:
    assert kinds(read_errors(text)) == []
    assert examine([read_errors(text)]) == []


ALTERNATIVES = [(kind, each) for kind, texts in KINDS.items() for each in alternatives(texts)]


@pytest.mark.parametrize("pattern", [pattern for _, pattern in ALTERNATIVES])
@settings(max_examples=20)
@given(data=st.data())
def test_what_a_pattern_fits_has_its_anchor(pattern: str, data: st.DataObject) -> None:
    text = data.draw(st.from_regex(pattern))

    assert len(anchor(pattern)) > 4
    assert anchor(pattern) in text


def test_every_kind_has_its_rule() -> None:
    assert CODES.keys() == KINDS.keys() == SAMPLES.keys()


def test_a_log_is_counted_by_kind_and_names_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    lines = ["all is well"] * 9 + [SAMPLES["cut"][0]] * 3 + ["ok"] + [SAMPLES["shared"][0]]
    path.write_text("\n".join(lines), encoding="utf-8")

    log = read_log(path)

    assert log.counts == {"cut": 3, "shared": 1}
    finding = found("MP415", log)
    assert finding.message.startswith("3 lines of the log: ")
    assert (finding.file, finding.line) == (str(path), 10)
    assert finding.evidence == SAMPLES["cut"][0]


def test_a_log_may_have_any_bytes_and_lines_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"\xff\xfe\x00" * 1000 + b"\n" + b"x" * 10_000_000 + b"database is locked\n")

    assert kinds(read_log(path)) == []


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoolConfigError, match=r"must be a file that can be read \(No such file"):
        read_log(tmp_path / "nothing")


def test_a_password_in_an_error_is_not_repeated() -> None:
    text = "postgresql://app:s3cret@db/shop: Connection refused"

    finding = found("MP426", read_errors(text))

    assert "s3cret" not in repr(finding)


def test_a_pool_that_was_empty_is_told_its_size() -> None:
    text = SAMPLES["pool-full"][0]

    assert "pool_size + max_overflow = 30, if all of them" in found("MP411", read_errors(text)).fix
    enough = found("MP411", replace(read_errors(text), needed=12))
    assert enough.fix.endswith(
        "no other size: the load needs 12, so connections are held for too long"
    )
    more = found("MP411", replace(read_errors(text), needed=22))
    assert more.fix.endswith("pool_size + max_overflow = 22, which is what the load needs")
    bare = SAMPLES["pool-full"][1]
    assert "twice the present max_size" in found("MP411", read_errors(bare)).fix
    known = replace(read_errors(bare), pools=(configured(max_size=8),))
    assert "max_size = 16" in found("MP411", known).fix


def test_a_full_server_is_told_what_is_asked_of_it() -> None:
    pools = (configured(max_size=20), configured(max_size=5))
    log = replace(read_errors(SAMPLES["server-full"][0]), pools=pools, workers=4)

    finding = found("MP413", log)

    assert "the pools known here ask for 100" in finding.message


def test_a_pool_without_a_limit_has_no_number() -> None:
    unlimited = (configured("dbutils.PooledDB"),)

    empty = found("MP411", replace(read_errors(SAMPLES["pool-full"][1]), pools=unlimited))
    full = found("MP413", replace(read_errors(SAMPLES["server-full"][0]), pools=unlimited))

    assert "twice the present maxconnections" in empty.fix
    assert full.message.endswith("the pools known here ask for any number of them")


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        ([], ["validation_interval=30.0"]),
        ([configured()], ["validation_interval=30.0"]),
        ([SQLALCHEMY], ["pool_pre_ping=True"]),
        ([DJANGO], ["CONN_HEALTH_CHECKS"]),
        ([configured("dbutils.PooledDB")], ["ping=1"]),
        ([configured(), SQLALCHEMY], ["validation_interval=30.0", "pool_pre_ping=True"]),
    ],
)
def test_advice_is_in_the_words_of_the_pool(pools: list[PoolOptions], words: list[str]) -> None:
    finding = found("MP415", replace(read_errors(SAMPLES["cut"][0]), pools=tuple(pools)))

    advised = [
        word
        for word in (
            "validation_interval=30.0",
            "pool_pre_ping=True",
            "CONN_HEALTH_CHECKS",
            "ping=1",
        )
        if word in finding.fix
    ]
    assert advised == words


def test_nothing_that_went_wrong_is_nothing_to_say() -> None:
    assert findings("MP4", read_errors("")) == []
