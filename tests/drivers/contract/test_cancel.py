"""Cancelling the statement that another thread is running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers import eventually, in_thread
from millpond import drivers
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from drivers.contract.cases import Case, Session

NEEDS = {"cancel": "query_timeout=2.0"}


def test_a_running_statement_is_cancelled_or_the_wish_is_refused(
    case: Case, session: Session
) -> None:
    if "cancel" not in session.driver.supports:
        with pytest.raises(PoolConfigError, match=r"^query_timeout=2\.0: not possible with"):
            drivers.find(case.url, needs=NEEDS)
        return
    running = in_thread(session.value, case.endless)

    def cancelled() -> bool:
        # As long as the statement has not begun, there is nothing to cancel, and no harm done.
        session.driver.cancel(session.conn)
        return running.done

    eventually(cancelled)
    error = running.error()

    assert error is not None
    assert session.driver.is_cancelled(error)
    assert not session.driver.is_disconnect(error)
    assert not session.driver.is_retryable(error)


def test_a_connection_whose_statement_was_cancelled_can_be_used_again(
    case: Case, session: Session
) -> None:
    if "cancel" not in session.driver.supports:
        with pytest.raises(NotImplementedError, match=case.name):
            session.driver.cancel(session.conn)
        return
    running = in_thread(session.value, case.endless)
    eventually(lambda: session.driver.cancel(session.conn) or running.done)

    session.driver.reset(session.conn)
    session.driver.ping(session.conn)

    assert session.is_idle()
    assert session.value("SELECT 77") == 77


def test_cancelling_an_idle_connection_does_no_harm(session: Session) -> None:
    if "cancel" in session.driver.supports:
        session.driver.cancel(session.conn)

    session.driver.ping(session.conn)

    assert session.is_idle()
