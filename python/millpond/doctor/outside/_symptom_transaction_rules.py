"""Rules about errors of transactions: forgotten, too slow, failed, or in each other's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._rules import Rules
from millpond.doctor.outside._advice import advise, remark
from millpond.doctor.outside._symptoms import Symptoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Remark

__all__ = ["RULES"]

RULES: Final = Rules(Symptoms)


@RULES.add("MP422", "error", "somebody did something else within a transaction")
def idle_transaction(log: Symptoms) -> Iterator[Remark]:
    """The server ended a session in which a transaction was open and nothing happened.

    The holder called another service, computed, waited for a user, or forgot to commit or to
    release. The server's idle_in_transaction_session_timeout is the net that caught it.

    At 3 a.m.: the payment provider is slow, and each order keeps a transaction and its locks.

    Fix: find the line: leak_threshold at half of the server's timeout reports who holds a
    connection. Then do the other thing before or after the block. Don't just raise the timeout.

    Before:
        with pool.transaction() as conn:
            order = load(conn)
            charge(order)           # seconds
            store(conn, order)

    After:
        with pool.connection() as conn:
            order = load(conn)
        charge(order)
        with pool.transaction() as conn:
            store(conn, order)
    """
    if said := log.said("idle-transaction"):
        yield remark(
            log,
            "idle-transaction",
            f"{said}: the server ended a transaction in which nothing happened",
            "leak_threshold = half of idle_in_transaction_session_timeout, which names the line; "
            "then do the slow thing outside of the block",
        )


@RULES.add("MP423", "warning", "statements took longer than they may")
def statement_timeout(log: Symptoms) -> Iterator[Remark]:
    """The server cancelled statements that took longer than statement_timeout allows.

    The net works; what it catches is either a query without an index, or one that waited for a
    lock. Meanwhile it had a connection, which others have waited for.

    At 3 a.m.: a plan has changed with the statistics of the night, and a query of 5 ms takes 30 s.

    Fix: EXPLAIN the statement, and lock_timeout below statement_timeout, to tell the two apart.
    Only what has a right to be slow gets a longer limit, for itself.

    Before:
        with pool.connection() as conn: ...

    After:
        with reports.connection(query_timeout=300.0) as conn: ...    # a pool of its own
    """
    if said := log.said("statement-timeout"):
        yield remark(
            log,
            "statement-timeout",
            f"{said}: a statement was cancelled, as it took too long",
            "EXPLAIN it, and set lock_timeout below statement_timeout, to tell slow from waiting; "
            "query_timeout= for those that may take longer, in a pool of their own",
        )


@RULES.add("MP427", "error", "a failed transaction was used further")
def failed_transaction(log: Symptoms) -> Iterator[Remark]:
    """A statement failed, and the next one came without a rollback.

    ``current transaction is aborted``. Somebody caught the error and went on; or gave the
    connection back without a rollback, to a pool that does not do it either, so that the next
    borrower has the failed transaction.

    At 3 a.m.: one bad request, and a tenth of all others fail until the restart.

    Fix: reset="rollback" (the default), and a ``with`` block that rolls back by itself.

    Before:
        pool = millpond.Pool(url, reset="none")

    After:
        pool = millpond.Pool(url)
        with pool.transaction() as conn: ...
    """
    if said := log.said("failed-transaction"):
        yield remark(
            log,
            "failed-transaction",
            f"{said}: after an error there was no rollback",
            advise(
                log,
                millpond='reset="rollback", and with pool.transaction() as conn',
                sqlalchemy='pool_reset_on_return="rollback", and with Session.begin()',
                django='"ATOMIC_REQUESTS": True, or transaction.atomic()',
                dbutils="reset=True",
            ),
        )


@RULES.add("MP428", "info", "transactions were in each other's way")
def conflict(log: Symptoms) -> Iterator[Remark]:
    """Transactions met in a deadlock or a conflict, and one of them was sacrificed.

    That is how databases work. It is an error only if nobody repeats the transaction.

    At 3 a.m.: two jobs update the same rows in different order.

    Fix: repeat the whole transaction, some times; and touch rows in the same order everywhere.

    Before:
        with pool.transaction(isolation="serializable") as conn:
            transfer(conn)

    After:
        pool.run(transfer, retries=3, isolation="serializable")
    """
    if said := log.said("conflict"):
        yield remark(
            log,
            "conflict",
            f"{said}: a transaction lost against another one",
            "pool.run(work, retries=3), and rows in the same order everywhere",
        )
