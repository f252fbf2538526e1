"""PyGreSQL, whose module is called `pg`; only who imports one of the ``*_pg`` modules needs it."""

try:
    from pg import DB as PgConnection  # noqa: N811  DBUtils' name for it
except ModuleNotFoundError as error:
    if error.name != "pg":
        raise
    message = (
        "No module named 'pg': the pools for classic PyGreSQL connections need PyGreSQL; "
        "install it by `pip install PyGreSQL`"
    )
    raise ModuleNotFoundError(message, name="pg") from None

__all__ = ["PgConnection"]
