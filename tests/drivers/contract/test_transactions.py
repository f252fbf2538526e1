"""Transactions that the pool begins, commits and rolls back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millpond.drivers import ISOLATION_LEVELS, TransactionStatus
from millpond.errors import PoolConfigError, PoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.contract.cases import Case, Session


@pytest.fixture(params=[False, True], ids=["implicit", "autocommit"])
def session(request: pytest.FixtureRequest, case: Case) -> Iterator[Session]:
    """Give a session in each mode that the driver has, with a table of its own."""
    autocommit = request.param or not case.implicit
    with case.open(autocommit=autocommit) as opened:
        opened.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        if not autocommit:
            opened.driver.commit(opened.conn)
        yield opened


def count(session: Session) -> Any:
    """Count the rows of the table."""
    return session.value("SELECT count(*) FROM t")


def test_what_is_committed_stays(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    session.driver.commit(session.conn)
    session.driver.reset(session.conn)

    assert count(session) == 1


def test_what_is_rolled_back_never_was(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    session.driver.rollback(session.conn)

    assert session.is_idle()
    assert count(session) == 0


def test_a_commit_after_a_statement_that_failed_says_so_unless_it_is_one(session: Session) -> None:
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    with pytest.raises(Exception, match="no_such_table"):
        session.run("INSERT INTO no_such_table VALUES (1)")
    if session.status is TransactionStatus.FAILED:  # the pool does not even try
        return

    try:
        session.driver.commit(session.conn)
    except PoolError as error:
        assert "rolled back and not committed" in str(error)  # noqa: PT017  or nothing is raised
        assert session.is_idle()
    else:
        assert count(session) == 1


def test_one_transaction_can_follow_the_other(session: Session) -> None:
    for end in ("commit", "rollback", "commit"):
        session.driver.begin(session.conn)
        session.run("INSERT INTO t VALUES (1)")
        getattr(session.driver, end)(session.conn)

    assert count(session) == 2


def test_a_savepoint_takes_back_a_part(case: Case, session: Session) -> None:
    if not case.has_savepoints:
        assert session.driver.savepoint_sql is None
        return
    begin, go_back, drop = session.driver.savepoint_sql
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")
    session.run(begin.format("a"))
    session.run("INSERT INTO t VALUES (2)")
    session.run(go_back.format("a"))
    session.run(begin.format("b"))
    session.run("INSERT INTO t VALUES (3)")
    if drop is not None:
        session.run(drop.format("b"))
    session.driver.commit(session.conn)

    assert count(session) == 2


@pytest.mark.parametrize("level", [*ISOLATION_LEVELS, "chaos"])
def test_the_isolation_level_holds_for_the_transaction(
    case: Case, session: Session, level: str
) -> None:
    if level not in session.driver.isolation_levels:
        with pytest.raises(PoolConfigError, match=f"^isolation='{level}': with {case.name} it"):
            session.driver.begin(session.conn, isolation=level)
        return
    before = case.isolation(session)
    session.driver.rollback(session.conn)

    session.driver.begin(session.conn, isolation=level)
    within = case.isolation(session)
    session.driver.commit(session.conn)

    assert within in {None, level}
    assert case.isolation(session) == before


def test_a_read_only_transaction_refuses_to_write(case: Case, session: Session) -> None:
    if not session.driver.read_only_transactions:
        with pytest.raises(PoolConfigError, match=f"^read_only=True: {case.name} has no"):
            session.driver.begin(session.conn, read_only=True)
        return
    session.driver.begin(session.conn, read_only=True)
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        session.run(case.write)
    session.driver.rollback(session.conn)

    session.driver.begin(session.conn)
    session.run(case.write)
    session.driver.rollback(session.conn)
