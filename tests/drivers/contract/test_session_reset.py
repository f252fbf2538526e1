"""`reset="session"`: the session is what it was when it was new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millpond import drivers
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session

NEEDS = {"reset_session": "reset='session'"}


def can_reset(case: Case, session: Session) -> bool:
    """Say whether the driver can; if not, it has to be refused."""
    if "reset_session" in session.driver.supports:
        return True
    with pytest.raises(PoolConfigError, match=r"^reset='session': not possible with the driver"):
        drivers.refine(drivers.find(case.url), session.conn, needs=NEEDS)
    with pytest.raises(NotImplementedError, match=case.name):
        session.driver.reset_session(session.conn)
    return False


def test_a_setting_of_the_session_is_forgotten(case: Case, session: Session) -> None:
    if can_reset(case, session):
        before = session.value(case.variable)
        session.run(case.set_variable)
        session.driver.commit(session.conn)
        assert str(session.value(case.variable)) == case.value

        session.driver.reset_session(session.conn)

        assert session.value(case.variable) == before


def test_a_temporary_table_is_forgotten(case: Case, session: Session) -> None:
    if can_reset(case, session):
        session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        session.driver.commit(session.conn)

        session.driver.reset_session(session.conn)

        with pytest.raises(Exception, match=r"\bt\b"):
            session.value("SELECT count(*) FROM t")


def test_an_open_transaction_is_rolled_back(case: Case, session: Session) -> None:
    if can_reset(case, session):
        session.driver.begin(session.conn)
        session.run("CREATE TEMPORARY TABLE t (n INTEGER)")

        session.driver.reset_session(session.conn)

        assert session.is_idle()


def test_the_autocommit_of_a_borrower_is_forgotten(case: Case, session: Session) -> None:
    if can_reset(case, session):
        session.driver.set_autocommit(session.conn, value=True)

        session.driver.reset_session(session.conn)

        session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
        session.driver.commit(session.conn)
        session.run("INSERT INTO t VALUES (1)")
        session.driver.reset(session.conn)
        assert session.value("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize("option", ["read_only", "isolation_level", "session"])
def test_preparing_again_brings_the_options_back(case: Case, option: str) -> None:
    value = case.values()[option]
    with case.open() as session:
        able = can_reset(case, session) and option in session.driver.supports
    if not able:
        return
    with case.open(**{option: value}) as session:
        options = drivers.SessionOptions(**{option: value})
        session.driver.reset_session(session.conn)
        session.driver.prepare(session.conn, options)

        case.prove(option, session)


def test_the_connection_works_as_before_many_times(case: Case, session: Session) -> None:
    if can_reset(case, session):
        for number in range(12):  # past every threshold for preparing a statement
            assert session.value(f"SELECT {number}") == number
            assert session.value("SELECT 77") == 77
            session.driver.reset_session(session.conn)

        assert session.is_idle()


def test_a_closed_connection_is_refused(case: Case, session: Session) -> None:
    if can_reset(case, session):
        session.driver.close(session.conn)

        with pytest.raises(Exception, match=r"(?i)closed|UNKNOWN|not.*open"):
            session.driver.reset_session(session.conn)
