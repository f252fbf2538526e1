"""An option that is in `supports` has its effect on the server; any other is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from drivers.contract.cases import FEATURES
from millpond import drivers
from millpond.drivers import AT_CONNECT, ISOLATION_LEVELS, SessionOptions
from millpond.errors import PoolConfigError

if TYPE_CHECKING:
    from drivers.contract.cases import Case

OPTIONS = sorted(field.name for field in fields(SessionOptions))


def driver_of(case: Case) -> Any:
    """Return the driver, which may have needed a connection to know all about itself."""
    with case.open() as session:
        return session.driver


def refusal(case: Case, *, by_callable: bool = False, **options: Any) -> str:
    """Return what is said about an option, before anybody gets a connection."""
    with (
        pytest.raises(PoolConfigError) as caught,
        case.open(by_callable=by_callable, **options),
    ):
        pass
    return str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_has_its_effect_or_is_refused(case: Case, option: str) -> None:
    value = case.values()[option]
    if option in driver_of(case).supports:
        with case.open(**{option: value}) as session:
            case.prove(option, session)
    else:
        message = refusal(case, **{option: value})
        assert message.startswith(f"{option}={value!r}: not possible with the driver {case.name}")


@pytest.mark.parametrize("option", OPTIONS)
def test_a_connection_of_a_callable_gets_its_options_from_the_pool(case: Case, option: str) -> None:
    driver = driver_of(case)
    value = case.values()[option]
    if option in driver.only_at_connect:
        with pytest.raises(PoolConfigError, match="only with a URL; a callable has to see to it"):
            drivers.find(case.connect, driver=case.name, options=SessionOptions(**{option: value}))
    elif option in driver.supports:
        with case.open(by_callable=True, **{option: value}) as session:
            case.prove(option, session)
    else:
        message = refusal(case, by_callable=True, **{option: value})
        assert message.startswith(f"{option}={value!r}: not possible with the driver {case.name}")


def test_all_options_can_be_had_together(case: Case) -> None:
    together = driver_of(case).supports - FEATURES - {"profile"}
    values = {name: value for name, value in case.values().items() if name in together}
    with case.open(**values) as session:
        assert session.is_idle()
        case.prove_session(session)


def test_supports_names_options_and_features_and_nothing_else(case: Case) -> None:
    assert driver_of(case).supports <= {*OPTIONS, *FEATURES}
    assert driver_of(case).only_at_connect >= AT_CONNECT


def test_a_level_that_the_driver_does_not_have_is_refused(case: Case) -> None:
    driver = driver_of(case)
    missing = [*(set(ISOLATION_LEVELS) - driver.isolation_levels), "chaos"]
    for level in missing:
        assert refusal(case, isolation_level=level).startswith(f"isolation_level={level!r}: ")


def test_autocommit_false_rolls_back_what_was_not_committed(case: Case) -> None:
    if not case.implicit:
        assert "autocommit=False: not possible" in refusal(case, autocommit=False)
        return
    with case.open(autocommit=False) as session:
        session.run("CREATE TEMPORARY TABLE auto (n INTEGER)")
        session.driver.commit(session.conn)
        session.run("INSERT INTO auto VALUES (1)")
        session.driver.reset(session.conn)

        assert session.value("SELECT count(*) FROM auto") == 0


def test_a_statement_of_the_session_that_fails_is_the_error_of_the_connection(case: Case) -> None:
    with (
        pytest.raises(Exception, match=r"(?i)syntax") as caught,
        case.open(session=(case.not_a_statement,)),
    ):
        pass

    assert not drivers.find(case.url).is_transient(caught.value)
