from flask import Flask, jsonify

from billing.db import pool
from billing.invoices import Invoices, charge


def create_app() -> Flask:
    app = Flask(__name__)
    invoices = Invoices(pool())

    @app.get("/invoices")
    def index():
        return jsonify(invoices.open())

    @app.post("/invoices/<int:number>/charge")
    def pay(number: int):
        charge(number)
        return "", 204

    return app
