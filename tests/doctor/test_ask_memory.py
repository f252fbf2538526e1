"""What a session costs its server."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pymysql
import pytest

from databases import mysql_arguments
from doctor.roles import run
from millpond.doctor.ask import ask_memory

KIB = 1024


def test_a_postgresql_session_is_estimated_by_the_servers_settings(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as conn:
        query = "SELECT pg_size_bytes(current_setting(%s))"
        names = ("work_mem", "shared_buffers")
        work, shared = (conn.execute(query, [name]).fetchone() for name in names)

    memory = ask_memory(postgres_url)

    assert memory is not None
    assert (memory.settings["work_mem"],) == work
    assert (memory.settings["shared_buffers"],) == shared
    assert memory.estimate == int(
        memory.settings["work_mem"] + memory.settings["shared_buffers"] / 100
    )


def test_a_postgresql_session_is_measured_where_we_may_look(postgres_url: str) -> None:
    with psycopg.connect(postgres_url):
        memory = ask_memory(postgres_url)

    assert memory is not None
    assert memory.measured is not None
    assert 200 * KIB < memory.measured < 200 * KIB * KIB
    assert "in /proc" in memory.how or "pg_backend_memory_contexts" in memory.how


def test_who_may_not_look_at_processes_asks_the_server(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millpond.sizing.measure_memory", lambda *_args, **_options: None)
    with psycopg.connect(postgres_url) as conn:
        number = conn.info.server_version

    memory = ask_memory(postgres_url)

    assert memory is not None
    if number >= 140_000:
        assert memory.how == "pg_backend_memory_contexts of a new session"
        assert (memory.measured or 0) > 200 * KIB
    else:
        assert memory.measured is None


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux")
def test_a_session_that_has_taken_more_is_measured_so(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        before = ask_memory(postgres_url)
        conn.execute("SET work_mem = '64MB'")
        cursor = psycopg.ServerCursor(conn, "large", withhold=False)
        conn.execute("BEGIN")
        cursor.execute(
            "SELECT repeat('x', 100) || n AS x FROM generate_series(1, 200000) n ORDER BY x"
        )
        cursor.fetchone()
        during = ask_memory(postgres_url)
        cursor.close()

    assert before is not None
    assert during is not None
    if "in /proc" in before.how:
        assert (during.measured or 0) > (before.measured or 0)


def test_a_mysql_session_is_estimated_by_its_buffers(mysql_url: str) -> None:
    with closing(pymysql.connect(**mysql_arguments(mysql_url))) as conn:
        ((sort, stack),) = run(conn, "SELECT @@global.sort_buffer_size, @@global.thread_stack")

    memory = ask_memory(mysql_url)

    assert memory is not None
    assert memory.settings["sort_buffer_size"] == sort
    assert memory.settings["thread_stack"] == stack
    assert memory.estimate == sum(memory.settings.values()) > sort + stack
    assert memory.measured is None


def test_redis_has_no_memory_of_a_session_to_speak_of(redis_url: str) -> None:
    assert ask_memory(redis_url) is None
