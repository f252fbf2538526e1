"""What of the tests of `Pool` can't be said of `AsyncPool`, and why; all the others are.

A key is a file of tests/pool, or a test in it.
"""

from __future__ import annotations

from typing import Final

EXCLUDED: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "of ThreadLocalPool, which is for threads": {
        "test_thread_local": (),
        "test_thread_local_owner": (),
        "test_thread_local_process": (),
        "test_thread_local_upkeep": (),
    },
    "of a process: test_ends.py and test_scenarios.py have what can be said of AsyncPool": {
        "test_exit": (),
        "test_fork": (),
        "test_gunicorn": (),
        "test_multiprocessing": (),
        "test_signals": (),
        "test_close": ("test_the_timer_thread_ends_with_the_last_pool",),
        "test_timeout": ("test_timeouts_and_garbage_collections_do_not_block_each_other",),
    },
    "a reset is a job of the pool's, done in its own task, whose errors are nobody's": {
        "test_reset_and_hooks": (
            "test_a_reset_of_ones_own_takes_the_place_of_the_rollback",
            "test_an_exit_during_reset_goes_on_but_takes_no_slot_along",
        ),
    },
    "the line is that of the facade: see test_scenarios.py": {
        "test_leak": (
            "test_a_connection_that_is_held_too_long_is_reported_once_with_the_line_that_took_it",
            "test_a_block_that_holds_too_long_is_reported_with_its_line",
            "test_a_reported_connection_can_be_reported_again_in_its_next_lease",
        ),
        "test_events": ("test_a_leak_is_told_with_its_line",),
        "test_explained_timeouts": ("test_a_leak_over_the_threshold_has_its_line",),
        "test_stats_shown": ("test_everything_is_plain", "test_a_table_fits_into_eighty_columns"),
    },
    "looks into the watch of Pool: see test_cancellation.py and test_servers.py": {
        "test_query_timeout": (
            "test_the_end_of_a_block_waits_for_a_cancellation_under_way",
            "test_a_cancellation_that_fails_is_logged_and_the_block_goes_on",
            "test_a_cancellation_that_does_not_end_holds_nobody_and_its_connection_is_closed",
        ),
    },
    "has deadlines of less than a millisecond, and a call through the façade may take longer": {
        "test_timeout": ("test_a_timeout_against_a_hand_over_loses_no_connection",),
    },
    "replaces time.sleep; the pauses are asyncio.sleep's": {
        "test_transactions": (
            "test_a_conflict_is_tried_again_after_a_longer_pause_each_time",
            "test_after_the_last_attempt_the_error_is_raised",
        ),
    },
    "of Pool.run, for which a coroutine is wrong: test_misuse.py has those of AsyncPool.run": {
        "test_transactions": (
            "test_a_coroutine_function_can_not_be_run",
            "test_what_can_not_be_called_can_not_be_run",
        ),
    },
    "how a statement is run is the driver's affair: tests/drivers/aio": {
        "test_validation_ways": (
            "test_a_statement_validates_and_leaves_neither_result_nor_transaction",
        ),
    },
    "what a driver raises when it judges an error is logged": {
        "test_recovery": ("test_a_driver_that_fails_to_judge_an_error_does_not_hide_it",),
    },
    "a listener is called in the loop, and can't wait for anything there": {
        "test_listeners": ("TestUsingThePool",),
    },
    "a reset is awaited, so it has a deadline, and the timer something to do": {
        "test_stats_window": ("test_it_adds_nothing_for_the_timer_to_do",),
    },
    "takes the end of a connect in its thread for its end in the loop, which comes a bit later": {
        "test_down": ("test_after_a_failure_one_at_a_time_is_tried",),
    },
    "breaks the workers of Pool": {
        "test_logging": ("test_a_job_that_fails_is_named_by_its_pool",),
    },
    "reads the source of the package, once is enough": {
        "test_logging": ("test_each_record_has_its_pool_and_event",),
    },
    "asks no pool anything, so once is enough": {"test_timeout_rules": ()},
    "looks at the calls of its own thread": {
        "test_listeners": ("test_without_a_listener_to_them_acquire_and_release_run_no_python",),
    },
    "asks for more than a thread for each call of the driver can do: see test_loops.py": {
        "test_stress": ("test_whatever_happens_at_once_the_books_balance",),
        "test_listeners": (
            "test_listeners_that_come_and_go_under_load_miss_nothing_while_they_are_there",
        ),
    },
}


def excluded(module: str, test: str) -> str | None:
    """Say why a test is not run, if it is not."""
    for reason, modules in EXCLUDED.items():
        tests = modules.get(module)
        if tests is not None and (not tests or test.partition("[")[0] in tests):
            return reason
    return None
