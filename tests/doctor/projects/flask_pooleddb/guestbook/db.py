import os

import pymysql
from dbutils.pooled_db import PooledDB
from flask import g

POOL = PooledDB(
    creator=pymysql,
    mincached=2,
    maxcached=5,
    maxconnections=20,
    blocking=True,
    ping=0,
    host=os.environ.get("DB_HOST", "127.0.0.1"),
    user="guestbook",
    password=os.environ["DB_PASSWORD"],
    database="guestbook",
    charset="utf8mb4",
    cursorclass=pymysql.cursors.DictCursor,
)


def get_db():
    if "db" not in g:
        g.db = POOL.connection()
    return g.db


def close_db(error=None):
    db = g.pop("db", None)
    if db is not None:
        db.close()


def init_app(app):
    app.teardown_appcontext(close_db)
