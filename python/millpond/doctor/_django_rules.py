"""Rules about Django's ``DATABASES``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond.doctor._findings import Remark
from millpond.doctor._options import UNKNOWN, PoolOptions
from millpond.doctor._project import Project
from millpond.doctor._rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.doctor._findings import Change
    from millpond.doctor._module import Module

__all__ = ["PROJECT_RULES", "RULES"]

RULES: Final = Rules(PoolOptions)
PROJECT_RULES: Final = Rules(Project)

_ASGI_APPS: Final = frozenset({"channels", "daphne"})
_ASGI_SERVERS: Final = ("uvicorn", "daphne", "hypercorn", "granian")
_BUILT_IN: Final = "django.db.backends."
_WITH_POOL: Final = frozenset({"postgresql", "oracle"})


def _persists(options: PoolOptions) -> bool:
    """Whether connections are known to outlive a request."""
    age = options.value("CONN_MAX_AGE")
    return options.is_django and (age is None or bool(age))


@RULES.add("MP141", "warning", "Django's persistent connections are not checked")
def no_health_checks(options: PoolOptions) -> Iterator[Remark]:
    """Django keeps connections between requests, and does not look whether they still work.

    After a restart of the database, or when a firewall dropped a connection, a request gets it all
    the same and fails with OperationalError.

    At 3 a.m.: the database failed over in two seconds. Every worker thread serves one more error
    page, whenever its next request comes, for hours.

    Fix: `CONN_HEALTH_CHECKS`: one round trip for each request that uses the database.

    Before:
        {"CONN_MAX_AGE": 600, ...}

    After:
        {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True, ...}
    """
    is_off = options.value("CONN_HEALTH_CHECKS") is False
    if _persists(options) and is_off and options.database != "sqlite":
        yield Remark(
            message=f"CONN_MAX_AGE={options.value('CONN_MAX_AGE')} without CONN_HEALTH_CHECKS: "
            "after a restart of the database each thread serves an error",
            place=options.at("CONN_MAX_AGE"),
            fix="check a connection at the first query of each request",
            change=_health_checks(options),
        )


def _health_checks(options: PoolOptions) -> Change | None:
    name = "CONN_HEALTH_CHECKS"
    from_url = options.place.source.find("dj_database_url") >= 0
    return options.change(name.lower() if from_url else name, "True")


@PROJECT_RULES.add("MP142", "error", "Django's persistent connections under ASGI")
def persistent_under_asgi(project: Project) -> Iterator[Remark]:
    """Under ASGI, Django's persistent connections pile up.

    Django keeps a connection for each thread, and closes old ones when the same thread serves the
    next request. Under ASGI that is hardly ever the same one, so connections stay open that
    nobody will use again. Django's documentation says to disable them.

    At 3 a.m.: some hundred requests later the server has no connection left.

    Fix: `CONN_MAX_AGE` 0, and a pool: Django's own (`OPTIONS["pool"]`, PostgreSQL and Oracle), or
    PgBouncer.

    Before:
        ASGI_APPLICATION = "shop.asgi.application"
        DATABASES = {"default": {..., "CONN_MAX_AGE": 60}}

    After:
        ASGI_APPLICATION = "shop.asgi.application"
        DATABASES = {"default": {..., "OPTIONS": {"pool": True}}}
    """
    why = next((why for module in project.modules if (why := _asgi(module))), "")
    for options in project.pools:
        if why and _persists(options):
            yield Remark(
                message=f"CONN_MAX_AGE={options.value('CONN_MAX_AGE')} under ASGI ({why}): "
                "connections pile up that no request will use again",
                place=options.at("CONN_MAX_AGE"),
                fix="no persistent connections under ASGI; use a pool",
                change=options.change("CONN_MAX_AGE", "0"),
            )


def _asgi(module: Module) -> str:
    """Return by what a file shows that the project is served by ASGI, else ``""``."""
    fold, constants = module.bindings.folder.value, module.source.constants
    apps = fold(constants["INSTALLED_APPS"]) if "INSTALLED_APPS" in constants else UNKNOWN
    if isinstance(apps, (list, tuple)):
        found = sorted(_ASGI_APPS.intersection(app for app in apps if isinstance(app, str)))
        if found:
            return f"{found[0]!r} in INSTALLED_APPS"
    if "ASGI_APPLICATION" in constants:
        return "ASGI_APPLICATION"
    worker = fold(constants["worker_class"]) if "worker_class" in constants else UNKNOWN
    if isinstance(worker, str) and any(name in worker for name in _ASGI_SERVERS):
        return f"worker_class={worker!r}"
    return ""


@RULES.add("MP143", "error", "Django refuses a pool together with persistent connections")
def pool_and_max_age(options: PoolOptions) -> Iterator[Remark]:
    """A pool and persistent connections exclude each other.

    Django raises ImproperlyConfigured at the first connection: "Pooling doesn't support persistent
    connections".

    At 3 a.m.: it passes every test that has no database, and fails with the first request.

    Fix: leave `CONN_MAX_AGE` out.

    Before:
        {"CONN_MAX_AGE": 60, "OPTIONS": {"pool": True}, ...}

    After:
        {"OPTIONS": {"pool": True}, ...}
    """
    pool = options.value("OPTIONS.pool")
    has_pool = bool(pool) or any(name.startswith("OPTIONS.pool.") for name in options.options)
    if _persists(options) and has_pool:
        yield Remark(
            message='OPTIONS["pool"] together with CONN_MAX_AGE: Django raises '
            "ImproperlyConfigured at the first connection",
            place=options.at("CONN_MAX_AGE"),
            fix="leave CONN_MAX_AGE out",
            change=options.change("CONN_MAX_AGE", "0"),
        )


@RULES.add("MP144", "error", "Django has no pool for this database")
def no_pool_for_backend(options: PoolOptions) -> Iterator[Remark]:
    """Django's own pool is for PostgreSQL (with psycopg 3) and Oracle only.

    With MySQL the option is passed on to the driver, which does not know it and refuses to
    connect; SQLite's backend likewise.

    At 3 a.m.: TypeError at the first query, in every worker.

    Fix: leave it out, or use a backend that has a pool for this database.

    Before:
        {"ENGINE": "django.db.backends.mysql", "OPTIONS": {"pool": True}}

    After:
        {"ENGINE": "django.db.backends.mysql", "CONN_MAX_AGE": 60, ...}
    """
    engine = options.value("ENGINE") if options.is_django else None
    if not isinstance(engine, str) or not engine.startswith(_BUILT_IN):
        return
    name = engine.removeprefix(_BUILT_IN)
    pool = options.options.get("OPTIONS.pool")
    if name not in _WITH_POOL and pool is not None and pool.value not in (None, False):
        yield Remark(
            message=f'OPTIONS["pool"] with {name}: Django has a pool for PostgreSQL and Oracle '
            "only, and the driver does not know this option",
            place=options.at("OPTIONS.pool"),
            fix="leave it out",
        )
