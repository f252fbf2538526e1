"""Liveness without a round trip, and ping, which makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session


def test_a_new_connection_is_not_said_to_be_dead(session: Session) -> None:
    assert session.driver.is_alive(session.conn) is not False


@pytest.mark.usefixtures("served")
def test_a_socket_with_nothing_to_read_is_alive(session: Session) -> None:
    if session.driver.fileno(session.conn) >= 0:
        assert session.driver.is_alive(session.conn) is True
    else:
        assert session.driver.fileno(session.conn) == -1


def test_a_connection_that_the_server_ended_is_not_said_to_be_alive(
    served: Case, session: Session
) -> None:
    served.kill(session)

    alive = session.driver.is_alive(session.conn)

    assert alive is False if session.driver.fileno(session.conn) >= 0 else alive is not True


def test_a_closed_connection_is_dead_or_fails_its_ping(case: Case, session: Session) -> None:
    session.driver.close(session.conn)

    assert session.driver.is_alive(session.conn) is not True
    with pytest.raises(Exception, match=case.closed):
        session.driver.ping(session.conn)


def test_ping_leaves_no_transaction_open(session: Session) -> None:
    for _ in range(3):
        session.driver.ping(session.conn)

    assert session.is_idle()


def test_ping_leaves_autocommit_as_it_is(case: Case) -> None:
    with case.open(autocommit=True) as session:
        session.driver.ping(session.conn)

        session.driver.prepare(session.conn)
        case.prove_autocommit(session)


def test_ping_leaves_an_open_transaction_alone(case: Case, session: Session) -> None:
    session.run("CREATE TEMPORARY TABLE t (n INTEGER)")
    session.driver.commit(session.conn)
    session.driver.begin(session.conn)
    session.run("INSERT INTO t VALUES (1)")

    if case.knows_status:
        session.driver.ping(session.conn)

        session.driver.commit(session.conn)
        assert session.value("SELECT count(*) FROM t") == 1
    else:
        session.driver.ping(session.conn)

        session.driver.reset(session.conn)
        assert session.value("SELECT count(*) FROM t") == 0


def test_ping_fails_on_a_connection_that_the_server_ended(served: Case, session: Session) -> None:
    served.kill(session)

    with pytest.raises(Exception, match=r"."):
        session.driver.ping(session.conn)
