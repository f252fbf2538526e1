import os

from celery.signals import worker_process_init
from sqlalchemy import create_engine

URL = os.environ["DATABASE_URL"]

engine = create_engine(URL, pool_size=2, max_overflow=0, pool_pre_ping=True)


@worker_process_init.connect
def forget_inherited_connections(**_):
    engine.dispose(close=False)


def make_engine():
    return create_engine(URL, pool_pre_ping=True)
