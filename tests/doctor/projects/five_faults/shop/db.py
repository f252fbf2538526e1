import os

import millpond

pool = millpond.Pool(
    os.environ["DATABASE_URL"],
    min_size=2,
    max_size=10,
    acquire_timeout=None,
    validation_interval=None,
    leak_threshold=30.0,
)
