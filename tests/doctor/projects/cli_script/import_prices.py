#!/usr/bin/env python3
"""Reads prices from a CSV file into the database."""

import argparse
import csv
import sys

import millpond


def rows_of(path):
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


def import_prices(pool, path):
    count = 0
    with pool.transaction() as conn:
        for row in rows_of(path):
            conn.execute(
                "INSERT INTO prices (sku, price) VALUES (?, ?)", (row["sku"], row["price"])
            )
            count += 1
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("csv")
    parser.add_argument("--db", default="sqlite:///prices.db")
    options = parser.parse_args()
    with millpond.Pool(options.db, max_size=1) as pool:
        print(import_prices(pool, options.csv), "prices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
