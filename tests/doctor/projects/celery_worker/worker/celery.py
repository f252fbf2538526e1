import os

from celery import Celery

app = Celery("worker", broker=os.environ["BROKER_URL"])
app.conf.task_acks_late = True
