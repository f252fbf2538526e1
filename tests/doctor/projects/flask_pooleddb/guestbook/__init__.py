from flask import Flask

from . import db, views


def create_app(config=None):
    app = Flask(__name__)
    app.config.from_mapping(PAGE_SIZE=20)
    if config:
        app.config.update(config)
    db.init_app(app)
    app.register_blueprint(views.bp)
    return app
