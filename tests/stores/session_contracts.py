"""What stores promise whose locks live in a session. A store's test names its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores.contract import ConnectionContract, FaultContract, Scene, ServerContracts, killed
from tests.stores.session_stores import PATIENT, without_tls

if TYPE_CHECKING:
    from tests.stores.session_stores import Database


class Sessions(ServerContracts, ConnectionContract):
    """One server over TCP, where the fixture `database` is."""

    @pytest.fixture
    def url(self, database: Database) -> str:
        return without_tls(database.url + PATIENT)


class SessionFaults(FaultContract):
    """A frozen holder loses its key when its session was idle for too long, and knows it.

    When the server is killed all locks end, and each holder knows it before the server is back.
    """

    @pytest.fixture
    def scene(self, database: Database) -> Scene:
        return Scene(without_tls(f"{database.url}?idle_timeout=3"), killed(database.server))
