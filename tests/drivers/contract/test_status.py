"""The transaction status, which the driver knows without asking the server, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millpond.drivers import TransactionStatus

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session


def expect(case: Case, session: Session, *statuses: TransactionStatus) -> None:
    """Compare the status, which is always UNKNOWN where the driver cannot know."""
    assert session.status in (statuses if case.knows_status else {TransactionStatus.UNKNOWN})


def test_a_new_connection_is_idle(case: Case, session: Session) -> None:
    expect(case, session, TransactionStatus.IDLE)


def test_a_transaction_is_open_until_it_is_committed(case: Case, session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    session.run("INSERT INTO t VALUES (1)")
    expect(case, session, TransactionStatus.OPEN)

    session.driver.commit(session.conn)

    expect(case, session, TransactionStatus.IDLE)


def test_a_transaction_is_open_until_it_is_rolled_back(case: Case, session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    session.run("INSERT INTO t VALUES (1)")
    expect(case, session, TransactionStatus.OPEN)

    session.driver.rollback(session.conn)

    expect(case, session, TransactionStatus.IDLE)


def test_after_an_error_a_transaction_is_failed_or_still_open(case: Case, session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    session.run("INSERT INTO t VALUES (1)")
    with pytest.raises(Exception, match="no_such_table"):
        session.run("INSERT INTO no_such_table VALUES (1)")

    expect(case, session, TransactionStatus.FAILED, TransactionStatus.OPEN)
    session.driver.rollback(session.conn)


def test_in_autocommit_mode_a_statement_opens_no_transaction(case: Case) -> None:
    with case.open(autocommit=True) as session:
        session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        session.run("INSERT INTO t VALUES (1)")

        expect(case, session, TransactionStatus.IDLE)
