"""The rules about what is in no source: none raises, whatever it is given, and each is tested."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor.patients import configured
from millpond.doctor import RULES, UNKNOWN, examine
from millpond.doctor.outside import (
    MODULES,
    Fleet,
    RunningPool,
    ServerFacts,
    Workload,
    configurations,
    read_document,
    read_errors,
    together,
)
from millpond.doctor.outside._server import Bouncer, Idler, Limit
from millpond.errors import PoolConfigError

OURS = sorted(rule.code for rules in MODULES for rule in rules)
TESTS = "".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py"))
)

seconds = st.none() | st.floats(0.001, 1e6)
counts = st.integers(0, 10_000)
servers = st.builds(
    ServerFacts,
    kind=st.sampled_from(["postgresql", "mysql", "mariadb", "redis"]),
    version=st.just("1"),
    where=st.just("postgresql://db/shop"),
    is_local=st.booleans(),
    max_connections=st.none() | counts,
    reserved=st.integers(0, 10),
    limits=st.lists(st.builds(Limit, st.just("role"), counts, st.just("ALTER")), max_size=2).map(
        tuple
    ),
    sessions=counts,
    states=st.dictionaries(st.sampled_from(["idle", "active"]), counts),
    peak=st.none() | counts,
    idle_timeout=seconds,
    transaction_timeout=seconds,
    statement_timeout=seconds,
    keepalive=seconds,
    check_interval=st.none() | st.floats(0, 100),
    is_administrator=st.booleans(),
    idlers=st.lists(
        st.builds(Idler, counts, st.floats(0, 1e6), st.text(max_size=3), st.text(max_size=9)),
        max_size=3,
    ).map(tuple),
    aborted=st.none() | st.tuples(counts, counts),
    bouncer=st.none()
    | st.builds(
        Bouncer,
        product=st.just("PgBouncer"),
        mode=st.sampled_from([None, "session", "transaction", "statement"]),
        how=st.just("so"),
        max_clients=st.none() | counts,
        pool_size=st.none() | counts,
        client_idle_timeout=seconds,
        wait_timeout=seconds,
    ),
)
HUGE = 10**400  # no float is so large
infinite = st.sampled_from([math.inf, -math.inf])
values = st.just(UNKNOWN) | seconds | infinite | st.sampled_from([0, 1, 50, True, "odd", HUGE])
pools = st.one_of(
    st.builds(
        configured,
        min_size=values,
        max_size=values,
        acquire_timeout=values,
        idle_timeout=values,
        max_lifetime=values,
        validation_interval=values,
        statement_timeout=values,
        leak_threshold=values,
        max_waiting=values,
    ),
    st.builds(
        configured,
        st.just("sqlalchemy.create_engine"),
        pool_size=values,
        max_overflow=values,
        pool_timeout=values,
        pool_recycle=values,
        pool_pre_ping=values,
    ),
    st.builds(configured, st.just("dbutils.PooledDB"), maxconnections=values, ping=values),
    st.builds(configured, st.just("django"), CONN_MAX_AGE=values, CONN_HEALTH_CHECKS=values),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(HUGE) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
names = ["name", "max_size", "window", "closed", "connections", "use_time", "open_time", "checks"]
names += ["checks_failed", "refused", "acquired", "opened", "leaks", "longest_wait", "waiting"]


def check(*subjects: object) -> None:
    """Examine, and see that what is said can be said."""
    for finding in examine(subjects):
        assert finding.message
        assert finding.fix
        assert "nan" not in finding.fix
        assert "None" not in finding.fix.replace("max_uses = None", "").replace(": None", "")


@given(servers, st.lists(pools, max_size=3), st.integers(1, 64), seconds)
def test_no_server_and_no_pool_is_too_odd(
    facts: ServerFacts, known: list[Any], workers: int, http_timeout: float | None
) -> None:
    check(together(facts, known, workers=workers, http_timeout=http_timeout))


loads = st.builds(
    Workload,
    users=st.integers(1, 100_000),
    query_time=st.floats(0.0001, 10.0),
    think_time=st.floats(0.0, 100.0),
    pattern=st.sampled_from(["steady", "bursty"]),
    workers=st.integers(1, 64),
    pools=st.lists(pools, max_size=2).map(tuple),
    http_timeout=seconds,
)


@given(loads)
def test_no_load_is_too_odd(load: Workload) -> None:
    try:
        assert 1 <= load.sizing.size <= load.users_per_worker
    except PoolConfigError:
        return  # more than any pool can have, which the command refuses
    check(load)


options = ["connect", "max_size", "min_size", "acquire_timeout", "idle_timeout", "leak_threshold"]


@given(
    st.dictionaries(st.sampled_from(names), plain),
    st.dictionaries(st.sampled_from(options) | st.text(), plain),
)
def test_no_statistics_are_too_odd(stats: dict[str, Any], options: dict[str, Any]) -> None:
    pool = RunningPool("http://a/pool.json", stats, options)
    other = RunningPool("http://b/pool.json", stats, {})

    check(pool, Fleet((pool, other)))
    examine(configurations([pool]))


@given(plain)
def test_no_document_is_too_odd(document: Any) -> None:
    try:
        read_document(document, "file")
    except PoolConfigError as error:
        assert "/pool.json" in str(error)  # noqa: PT017  either is fine, but no other error


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_is_too_odd(text: str) -> None:
    check(read_errors(text))


errors = st.sampled_from(
    [
        "couldn't get a connection after 30.00 sec",
        "QueuePool limit of size -1 overflow -1 reached",
        "sorry, too many clients already",
    ]
)


@given(errors, st.lists(pools, max_size=2).map(tuple), st.none() | counts)
def test_no_pool_is_too_odd_for_an_error(
    text: str, known: tuple[Any, ...], needed: int | None
) -> None:
    check(replace(read_errors(text), pools=known, needed=needed))


@pytest.mark.parametrize("code", OURS)
def test_a_rule_is_triggered_and_missed_in_tests(code: str) -> None:
    if "MP411" <= code <= "MP433":  # by a table: SAMPLES and HARMLESS
        assert f'"{code}"' in TESTS
        return
    assert re.search(rf'found\("{code}"', TESTS)
    assert re.search(rf'findings\(\s*"{code}"', TESTS)


def test_there_are_rules_about_all_of_it() -> None:
    assert set(OURS) <= RULES.keys()
    begin = [code[:3] for code in OURS]
    assert begin.count("MP3") >= 8
    assert begin.count("MP4") >= 8
    assert begin.count("MP5") >= 8
