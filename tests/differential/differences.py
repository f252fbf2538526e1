"""The deliberate differences between DBUtils and millpond.

`DIFFERENCES` is the whole list, and the table in `python/millpond/dbutils/README.md` is made of it:
`cd tests; python -m differential.differences` writes it there. A difference that single-threaded
scripts can show has a function that recognises it, in `situations.py`. The others name their test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from differential import situations

if TYPE_CHECKING:
    from collections.abc import Callable

    from differential.situations import Situation


@dataclass(frozen=True)
class Difference:
    """Something that millpond does otherwise, on purpose.

    Attributes:
        id: Its name.
        contract: Where the contract has it, if it does.
        dbutils: What DBUtils does.
        millpond: What millpond does.
        why: Why nobody can depend on the former.
        explains: Whether it is why a script goes another way here; `None` if no script can tell.
        test: The test that shows it, in `tests/dbutils`, if no script does.
    """

    id: str
    contract: str
    dbutils: str
    millpond: str
    why: str
    explains: Callable[[Situation], bool] | None = None
    test: str = ""


DIFFERENCES: Final = (
    Difference(
        "close-counts-once",
        "4.2, 1",
        "`close()` of a pool uncounts shared connections that are in use, and their own `close()` "
        "does so again: `_connections` becomes negative, and the limit is then exceeded",
        "a connection is uncounted once",
        "a negative count is of no use to anybody",
        situations.closed_while_shared,
    ),
    Difference(
        "limit-holds-for-shared",
        "4.2, 2",
        "once a connection is shared, the next may be opened above `maxconnections`",
        "`maxconnections` is never exceeded: such a call shares a connection that is there",
        "the limit is there to protect the server",
        situations.over_the_limit,
    ),
    Difference(
        "maxshared-none",
        "4.2, 5",
        "`maxshared=None` with `maxconnections` raises TypeError",
        "`None` means 0",
        "DBUtils documents it so",
        situations.maxshared_none,
    ),
    Difference(
        "counts-in-flight",
        "1.4",
        "`_connections` counts a connection when it has been opened and checked",
        "`_connections` counts it from the moment that its place is taken; so a creator that "
        "borrows from its own pool at the limit waits, or is refused",
        "only a driver that looks at the pool while it connects can tell, and otherwise many who "
        "connect at once would be too many",
        situations.counts_in_flight,
    ),
    Difference(
        "limits-are-numbers",
        "1.3",
        "a limit that is a text is a TypeError from within",
        "it is a TypeError that names the limit",
        "only the words differ",
        situations.limit_is_no_number,
    ),
    Difference(
        "maxshared-negative",
        "1.3",
        "with a negative `maxshared` every call that would share is an IndexError",
        "a negative limit means 0, as with the other three",
        "such a pool can only be used without sharing",
        situations.maxshared_negative,
    ),
    Difference(
        "close-takes-what-is-there",
        "1.4",
        "`close()` also closes what the closing itself gives back to the pool",
        "`close()` closes what is idle when it is called",
        "it ends, whatever others give back meanwhile; the pool goes on in any case",
        situations.returned_while_closing,
    ),
    Difference(
        "maxcached-holds",
        "1.4",
        "a connection that is returned from within the rollback of another one can be idle above "
        "`maxcached`",
        "its place is taken before the rollback begins",
        "`maxcached` says how many",
        situations.more_idle_than_allowed,
    ),
    Difference(
        "interrupted-finalizer",
        "1.5",
        "a KeyboardInterrupt in the rollback of a connection whose proxy is dropped is swallowed, "
        "and the connection is counted for ever",
        "the connection is uncounted",
        "one such moment in a pool with one connection, and it never lends again",
        situations.interrupted_finalizer,
    ),
    Difference(
        "interrupted-share",
        "1.4",
        "after a KeyboardInterrupt in the check of a shared connection nobody shares it any more, "
        "though it is still in use",
        "its share is given back, and it stays shared",
        "more connections would be shared than `maxshared` says",
        situations.interrupted_share,
    ),
    Difference(
        "no-lost-wake-up",
        "4.2, 3",
        "a notification can be swallowed by a waiter who cannot use it",
        "what becomes free goes to the oldest waiter who can use it",
        "a thread that sleeps beside a free connection is of no use to anybody",
        test="test_pooled_waiting.py::test_a_shareable_waiter_swallows_no_dedicated_ones_permit",
    ),
    Difference(
        "transaction-end-wakes",
        "4.2, 4",
        "the end of a transaction on a shared connection wakes nobody",
        "it wakes who waits for a connection to share",
        "the same",
        test="test_pooled_waiting.py::test_the_end_of_a_shared_transaction_wakes_who_waits_for_it",
    ),
    Difference(
        "constructor-never-hangs",
        "4.2, 6",
        "with `blocking=True` and `mincached` above `maxconnections` the constructor waits for "
        "itself forever",
        "it raises TooManyConnectionsError, as without `blocking`, and says why",
        "nobody can use a pool that is never made",
        situations.constructor_hangs,
    ),
    Difference(
        "nothing-slow-under-a-lock",
        "4.2, 7",
        "connect, ping and rollback run one after the other, under the pool's lock",
        "they run in parallel, in the callers' threads, and a return never waits for them",
        "the order among threads was chance before",
        test="test_pooled_waiting.py::test_a_hanging_connect_holds_up_nobody_else",
    ),
    Difference(
        "first-come-first-served",
        "1.4",
        "a thread that asks at the right moment gets ahead of those who wait",
        "who waits longest is served first, always",
        "the order was chance before",
        test="test_differential_threads.py::test_a_wait_in_vain_costs_a_place_in_dbutils_only",
    ),
    Difference(
        "raise-serves-waiters",
        "6, 5",
        "raising `_maxconnections` wakes nobody",
        "it serves those who wait, as far as it reaches",
        "they would wait beside a place that is free",
        test="test_differential_threads.py::test_a_higher_limit_serves_who_waits_in_millpond_only",
    ),
    Difference(
        "close-once",
        "4.2, 11",
        "two threads that close the same proxy can return its connection twice",
        "it is returned once",
        "two owners of a connection corrupt each other's work",
        test="test_pooled_returns.py::test_of_many_who_close_a_connection_at_once_one_does",
    ),
    Difference(
        "fields-are-not-in-vars",
        "A",
        "`vars()` of a pool, a proxy, a connection or a cursor has all of its attributes",
        "those that the core keeps are found by getattr and setattr, and not by vars()",
        "they are fields of a C object",
        test="test_differences.py::test_what_the_core_keeps_is_not_in_vars",
    ),
    Difference(
        "fork-starts-clean",
        "4.1, 39",
        "after a fork, parent and child use the same sockets",
        "the child starts with no connection, and closes none of its parent's",
        "two processes on one socket corrupt each other's work",
        test="test_pooled_fork.py::test_the_child_begins_with_nothing",
    ),
    Difference(
        "failed-statements-let-go",
        "2.5",
        "when a statement failed for good, its error keeps the cursor, and the driver's cursor "
        "open, until the garbage collector runs",
        "the cursor goes with its last reference",
        "when the collector runs is chance",
        test="test_steady_against_dbutils.py::"
        "test_a_failed_statement_does_not_keep_its_cursor_until_the_next_collection",
    ),
    Difference(
        "never-negative",
        "4.2, 1",
        "`_connections` becomes negative when `cache()` gets a connection that nobody borrowed",
        "it stays at 0",
        "the limit would be exceeded by as much",
        test="test_pooled_returns.py::"
        "test_what_was_lent_by_nobody_does_not_make_the_count_negative",
    ),
    Difference(
        "threadsafety-asked-once",
        "1.3",
        "`con.threadsafety()` is asked at each checkout",
        "it is asked once for each steady connection",
        "it is the driver's, and does not change; asking costs as much as lending",
        test="test_differences.py::test_whether_a_connection_is_safe_is_asked_once",
    ),
    Difference(
        "shared-ends-wake",
        "1.4",
        "`commit`, `rollback` and `cancel` of a shared connection are the bound methods of the "
        "steady one",
        "they are partials that call it, and then wake who waits for the connection",
        "they are called, and not compared",
        test="test_differences.py::test_the_end_of_a_shared_transaction_is_a_partial",
    ),
    Difference(
        "proxy-class-is-fixed",
        "6, 5",
        "another class put in the place of `pooled_db.PooledDedicatedDBConnection` is what "
        "`connection()` then returns",
        "it is not looked up there: override `connection()` in a subclass, or put attributes on"
        " the proxy",
        "a look into the module would cost each checkout, and the two ways that are left do the"
        " same",
        test="test_differences.py::test_the_class_of_proxies_is_not_looked_up",
    ),
    Difference(
        "pools-are-not-copied",
        "A",
        "`copy.copy(pool)` is a second pool with the same lists, the same lock and a count of "
        "its own",
        "it is a TypeError",
        "two counts for the same connections exceed the limit",
        test="test_differences.py::test_a_pool_is_not_copied",
    ),
    Difference(
        "numbers-are-integers",
        "A",
        "`_usage`, `_maxusage` and `_ping` of a steady connection can be set to anything, and "
        "fail later",
        "what is no integer is a TypeError at once",
        "nothing else works",
        test="test_steady_connection.py::test_values_of_the_wrong_kind_are_refused",
    ),
    Difference(
        "tough-methods-of-the-class",
        "2.3",
        "a `_get_tough_method` set on one cursor makes all of its tough methods",
        "it makes those other than `execute`, `executemany` and `callproc`; one of a class "
        "makes all of them, and so do `execute` and the others set on the cursor",
        "looking for it would cost each statement",
        test="test_differences.py::test_a_tough_method_maker_of_one_cursor_makes_the_rarer_ones",
    ),
    Difference(
        "threads-close-their-own",
        "4.1, 8",
        "what `PersistentDB` has for a thread is closed when the `Thread` object goes, in "
        "whatever thread that is",
        "it is closed when the thread ends, in that thread",
        "drivers such as sqlite3 refuse to be closed elsewhere, and servers count sessions",
        test="test_persistent.py::"
        "test_a_connection_is_closed_when_its_thread_ends_though_somebody_keeps_the_thread",
    ),
    Difference(
        "simple-pools-fork",
        "4.1, 39",
        "after a fork, the simple pools of parent and child use the same sockets",
        "the child connects again when it is first asked",
        "as for `fork-starts-clean`",
        test="test_simple.py::test_a_forked_child_connects_again_when_it_is_first_asked",
    ),
    Difference(
        "pg-forks",
        "4.1, 39",
        "the same with `PooledPg`",
        "the pool of the child is empty, and has all its places",
        "the same",
        test="test_pg_fork.py::test_the_pool_of_a_child_is_empty_and_has_all_its_places",
    ),
    Difference(
        "pg-loses-no-place",
        "0, 7",
        "a KeyboardInterrupt in the rollback of a connection that comes back to a `PooledPg` "
        "costs a place for ever",
        "it costs none, and neither does a connect that fails",
        "after a few of these the pool lends no more",
        test="test_pg.py::test_a_rollback_that_fails_costs_no_place",
    ),
    Difference(
        "pg-constructor-never-hangs",
        "4.2, 6",
        "`PooledPg` with `blocking=True` and `mincached` above `maxconnections` waits for "
        "itself forever",
        "it raises TooManyConnectionsError",
        "nobody can use a pool that is never made",
        test="test_pg.py::"
        "test_more_connections_at_the_start_than_there_may_be_are_an_error_and_no_hang",
    ),
    Difference(
        "pg-proxy-is-atomic",
        "4.2, 11",
        "threads that close or reopen one `PooledPg` connection can give it back, or take one, "
        "twice",
        "it happens once",
        "two owners of a connection corrupt each other's work",
        test="test_pg.py::test_threads_that_reopen_one_connection_take_one",
    ),
    Difference(
        "pg-own-error",
        "2.7",
        "when a PyGreSQL query's connection is closed under it, asking why fails, and that "
        "error hides the query's",
        "one gets the query's own error",
        "it says what happened",
        test="test_pg.py::test_the_error_of_a_query_that_closed_its_connection_is_not_hidden",
    ),
)
BY_ID: Final = {difference.id: difference for difference in DIFFERENCES}


def explanation(where: Situation) -> Difference | None:
    """Find the deliberate difference that is why a script goes another way here."""
    for difference in DIFFERENCES:
        if difference.explains is not None and difference.explains(where):
            return difference
    return None


def as_markdown() -> str:
    """Give the list as the table that is in the README."""

    def row(*cells: Any) -> str:
        return f"| {' | '.join(cells)} |\n"

    lines = [row("id", "DBUtils 3.2.0", "millpond", "why"), row(*["---"] * 4)]
    lines += [row(f"`{one.id}`", one.dbutils, one.millpond, one.why) for one in DIFFERENCES]
    return "".join(lines)


README: Final = Path(__file__).parents[2] / "python/millpond/dbutils/README.md"
_BEGIN: Final = "<!-- The table is made of tests/differential/differences.py. -->\n"
_END: Final = "<!-- Here it ends. -->\n"


def table_of(readme: str) -> str:
    """Find the table in the text of the README."""
    return readme.partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    """Write the table into the README."""
    text = README.read_text()
    README.write_text(text.replace(_BEGIN + table_of(text) + _END, _BEGIN + as_markdown() + _END))


if __name__ == "__main__":
    main()
