import requests
from flask import Blueprint, jsonify, request

from shop.db import pool

bp = Blueprint("orders", __name__)


@bp.get("/orders/<int:number>")
def show(number):
    conn = pool.acquire()
    row = conn.execute("SELECT * FROM orders WHERE id = %s", (number,)).fetchone()
    pool.release(conn)
    return jsonify(row)


@bp.post("/orders")
def create():
    order = request.get_json()
    with pool.transaction() as conn:
        conn.execute("INSERT INTO orders (sku) VALUES (%s)", (order["sku"],))
        answer = requests.post("https://pay.example.org/charge", json=order, timeout=60)
        conn.execute("UPDATE orders SET paid = %s", (answer.ok,))
    return "", 201
