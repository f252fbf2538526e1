import sys
import time

from psycopg_pool import ConnectionPool

pool = ConnectionPool("postgresql://app:secret@db.example.org/app", min_size=50, max_size=50)


def copy(table):
    conn = pool.getconn()
    conn.execute(f"INSERT INTO archive.{table} SELECT * FROM {table}")
    time.sleep(1)
    pool.putconn(conn)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        copy(name)
