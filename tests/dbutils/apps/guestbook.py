"""A small Flask application as people write it with DBUtils: one pool, a connection a request.

Nothing in it knows of millpond.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pymysql
from dbutils.pooled_db import PooledDB
from flask import Flask, Response, g, request

TABLE = os.environ["GUESTBOOK_TABLE"]

app = Flask(__name__)
pool = PooledDB(
    creator=pymysql,
    mincached=1,
    maxcached=3,
    maxconnections=5,
    blocking=True,
    ping=1,
    setsession=["SET SESSION time_zone = '+00:00'"],
    charset="utf8mb4",
    cursorclass=pymysql.cursors.DictCursor,
    **json.loads(os.environ["GUESTBOOK_DATABASE"]),
)


@app.before_request
def connect() -> None:
    """Borrow a connection for this request."""
    g.db = pool.connection()


@app.teardown_request
def disconnect(_: BaseException | None) -> None:
    """Give it back, whatever happened."""
    if "db" in g:
        g.db.close()


@app.get("/")
def entries() -> list[dict[str, Any]]:
    """List all entries."""
    with g.db.cursor() as cursor:
        cursor.execute(f"SELECT name, words FROM {TABLE} ORDER BY id")
        return list(cursor.fetchall())


@app.post("/")
def sign() -> tuple[dict[str, Any], int]:
    """Add an entry."""
    entry = request.get_json()
    with g.db.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} (name, words) VALUES (%s, %s)", (entry["name"], entry["words"])
        )
        if entry["name"] == "nobody":
            raise ValueError(entry["name"])  # after the INSERT, before the commit
        number = cursor.lastrowid
    g.db.commit()
    return {"number": number}, 201


@app.get("/broken")
def broken() -> Response:
    """Run a statement which the server refuses."""
    with g.db.cursor() as cursor:
        cursor.execute("SELECT nonsense FROM nowhere_at_all")
    return Response()


@app.errorhandler(pymysql.MySQLError)
def refused(error: pymysql.MySQLError) -> tuple[dict[str, Any], int]:
    """Tell what the server said."""
    return {"error": type(error).__name__, "code": error.args[0]}, 500


@app.get("/pool")
def state() -> dict[str, Any]:
    """Tell how the pool is, as monitoring does."""
    return {
        "limit": pool._maxconnections,
        "lent": pool._connections,
        "idle": len(pool._idle_cache),
        "zone": zone(),
    }


def zone() -> str:
    """Ask for something that only the session's preparation has set."""
    with g.db.cursor() as cursor:
        cursor.execute("SELECT @@session.time_zone AS zone")
        found: str = cursor.fetchone()["zone"]
        return found


def visit() -> None:
    """Visit every page, some of them at once, and print the answers."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with app.app_context():
        connection = pool.connection()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
            cursor.execute(
                f"CREATE TABLE {TABLE} (id INT AUTO_INCREMENT PRIMARY KEY,"
                " name TEXT, words TEXT) ENGINE=InnoDB"
            )
        connection.close()

    def get(path: str) -> tuple[int, Any]:
        answer = app.test_client().get(path)
        return answer.status_code, answer.json

    def post(name: str, words: str) -> tuple[int, Any]:
        answer = app.test_client().post("/", json={"name": name, "words": words})
        return answer.status_code, answer.json

    print(post("Ada", "Grüße"))
    print(post("nobody", "is not there afterwards"))
    print(post("Charles", "engines"))
    print(get("/"))
    print(get("/broken"))
    print(get("/pool"))
    with ThreadPoolExecutor(20) as many:
        print(set(map(str, many.map(get, ["/"] * 100))))
    status, told = get("/pool")
    print(status, told["limit"], told["lent"], 1 <= told["idle"] <= 3, told["zone"])
    with app.app_context(), pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


if __name__ == "__main__":
    visit()
