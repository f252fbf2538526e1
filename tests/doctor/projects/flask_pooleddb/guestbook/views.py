from flask import Blueprint, abort, current_app, jsonify, request

from .db import POOL, get_db

bp = Blueprint("guestbook", __name__)


@bp.get("/")
def index():
    db = get_db()
    with db.cursor() as cursor:
        cursor.execute(
            "SELECT id, name, words FROM entries ORDER BY id DESC LIMIT %s",
            (current_app.config["PAGE_SIZE"],),
        )
        return jsonify(cursor.fetchall())


@bp.post("/")
def sign():
    entry = request.get_json()
    if not entry.get("name"):
        abort(400)
    db = get_db()
    with db.cursor() as cursor:
        cursor.execute(
            "INSERT INTO entries (name, words) VALUES (%s, %s)", (entry["name"], entry["words"])
        )
    db.commit()
    return "", 201


@bp.get("/count")
def count():
    conn = POOL.connection()
    cursor = conn.cursor()
    cursor.execute("SELECT COUNT(*) AS n FROM entries")
    row = cursor.fetchone()
    cursor.close()
    conn.close()
    return jsonify(row)
