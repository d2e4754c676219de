"""What stores promise whose locks live in a session. A store's test names its database."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from tests.stores.contract import (
    ConnectionContract,
    FaultContract,
    InspectContract,
    LostAnswerContract,
    ProcessContract,
    StoreContract,
    StoreFixtures,
    killed,
)
from tests.stores.session_stores import PATIENT, open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stores.contract import Opens
    from tests.stores.session_stores import Database


class Sessions(StoreContract, ConnectionContract, InspectContract, LostAnswerContract, ProcessContract):
    """One server over TCP, where the fixture `database` is."""

    @pytest.fixture
    def open_store(self, database: Database) -> Opens:
        return functools.partial(open_session, database.url + PATIENT)


class SessionFaults(FaultContract, StoreFixtures):
    """A frozen holder loses its key when its session was idle for too long, and knows it.

    When the server is killed all locks end, and each holder knows it before the server is back.
    """

    @pytest.fixture
    def open_store(self, database: Database) -> Opens:
        return functools.partial(open_session, f"{database.url}?idle_timeout=3")

    @pytest.fixture
    def upset(self, database: Database) -> Callable[[], object]:
        return killed(database.server)
