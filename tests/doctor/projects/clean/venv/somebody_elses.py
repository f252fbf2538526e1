from dbutils.pooled_db import PooledDB

pool = PooledDB(connect, blocking=True)
