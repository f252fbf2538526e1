import time

from sqlalchemy import text

from worker.celery import app
from worker.db import engine, make_engine


@app.task
def refresh_totals():
    with engine.begin() as conn:
        conn.execute(text("REFRESH MATERIALIZED VIEW totals"))


@app.task(bind=True, max_retries=3)
def archive(self, day):
    own = make_engine()
    with own.begin() as conn:
        conn.execute(text("INSERT INTO archive SELECT * FROM orders WHERE day = :day"), {"day": day})


@app.task
def vacuum():
    with engine.connect() as conn:
        for table in ("orders", "archive"):
            conn.execute(text(f"ANALYZE {table}"))
            time.sleep(5)


@app.task
def purge(day):
    with engine.connect() as conn:
        conn.execute(text("DELETE FROM orders WHERE day < :day"), {"day": day})
