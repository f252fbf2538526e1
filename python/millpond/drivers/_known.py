"""The drivers of this package whose connections block.

To add one, write ``_name.py`` with a class derived from `Dbapi`, and give it a line below. A
package of its own names its class in its metadata instead, as an entry point:

    [project.entry-points."millpond.drivers"]
    mydb = "mydb_millpond:MyDB"

That driver is for the URL schemes ``mydb`` and ``anything+mydb``, for ``driver="mydb"``, and for
connections whose class is from the package ``mydb``.
"""

from __future__ import annotations

from typing import Final

from millpond.drivers._registry import Known, Registry, with_driver

MYSQL: Final = ("mysql", "mariadb")

KNOWN: Final = Registry(
    group="millpond.drivers",
    folder="millpond.drivers",
    known={
        "duckdb": Known("Duckdb", ("duckdb",), "_duckdb"),
        "mysqlclient": Known(
            "MySQLClient", with_driver(MYSQL, "mysqldb", "mysqlclient"), "MySQLdb"
        ),
        "mysqlconnector": Known(
            "MySQLConnector", with_driver(MYSQL, "mysqlconnector"), "mysql", extra="mysql-connector"
        ),
        "oracledb": Known("Oracledb", ("oracle", "oracle+oracledb")),
        "psycopg": Known("Psycopg", ("postgres", "postgresql", "postgresql+psycopg")),
        "psycopg2": Known("Psycopg2", ("postgresql+psycopg2",)),
        "pymysql": Known("PyMySQL", with_driver(MYSQL, "pymysql")),
        "pyodbc": Known("Pyodbc", ("mssql", "mssql+pyodbc", "odbc")),
        "redis": Known("Redis", ("redis", "rediss", "unix")),
        "sqlite3": Known("Sqlite3", ("sqlite",)),
    },
    # The first that can be imported is taken.
    choices=dict.fromkeys(MYSQL, ("mysqlclient", "pymysql", "mysqlconnector")),
)
