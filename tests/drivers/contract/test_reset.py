"""What a release leaves behind: nothing that the next borrower could stumble over."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session


@pytest.fixture
def session(session: Session) -> Session:
    """Give a session with a table of its own, and no transaction."""
    session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    session.driver.commit(session.conn)
    return session


def test_an_open_transaction_is_rolled_back(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")

    session.driver.reset(session.conn)

    assert session.is_idle()
    assert session.value("SELECT count(*) FROM t") == 0


def test_a_failed_transaction_is_rolled_back(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    with pytest.raises(Exception, match="no_such_table"):
        session.run("INSERT INTO no_such_table VALUES (1)")

    session.driver.reset(session.conn)

    assert session.is_idle()
    assert session.value("SELECT count(*) FROM t") == 0


def test_a_transaction_that_autocommit_would_leave_open_is_rolled_back(case: Case) -> None:
    with case.open(autocommit=True) as session:
        session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        session.driver.begin(session.conn)
        session.run("INSERT INTO t VALUES (1)")

        session.driver.reset(session.conn)

        assert session.is_idle()
        assert session.value("SELECT count(*) FROM t") == 0


def test_without_a_transaction_nothing_is_lost(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    session.driver.commit(session.conn)

    for _ in range(3):
        session.driver.reset(session.conn)

    assert session.is_idle()
    assert session.value("SELECT count(*) FROM t") == 1


def test_an_unread_result_is_gone_or_the_connection_is(case: Case, session: Session) -> None:
    cursor = session.conn.cursor()
    cursor.execute(case.many)
    cursor.fetchone()

    kept = False
    with suppress(Exception):
        session.driver.reset(session.conn)
        kept = True

    if kept:
        assert session.is_idle()
        assert session.value("SELECT 77") == 77
        session.driver.reset(session.conn)
    with suppress(Exception):  # it may be in nobody's hands any more
        cursor.close()


def test_a_closed_connection_is_refused(session: Session) -> None:
    session.driver.close(session.conn)

    with pytest.raises(Exception, match=r"(?i)closed|UNKNOWN|not.*open"):
        session.driver.reset(session.conn)


def test_a_connection_that_died_in_a_transaction_is_refused(served: Case, session: Session) -> None:
    session.driver.begin(session.conn)
    served.kill(session)
    with pytest.raises(Exception, match=r"."):
        session.value("SELECT 1")

    # Some ODBC drivers say nothing about a rollback that nobody could hear; then a ping has to.
    with pytest.raises(Exception, match=r"."):
        session.driver.reset(session.conn)
        session.driver.ping(session.conn)
