import os

import millpond
from flask import Blueprint, jsonify

bp = Blueprint("reports", __name__)


def read(statement):
    replica = millpond.Pool(os.environ["REPLICA_URL"], max_size=2, leak_threshold=60.0)
    with replica.connection() as conn:
        return conn.execute(statement).fetchall()


@bp.get("/reports/turnover")
def turnover():
    return jsonify(read("SELECT day, SUM(total) FROM orders GROUP BY day"))
