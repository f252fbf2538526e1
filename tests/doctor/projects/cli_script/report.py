#!/usr/bin/env python3
import millpond

pool = millpond.Pool("sqlite:///prices.db", max_size=50, acquire_timeout=None, leak_threshold=60.0)

conn = pool.acquire()
for sku, price in conn.execute("SELECT sku, price FROM prices"):
    print(f"{sku:20} {price:>10}")
pool.release(conn)
pool.close()
