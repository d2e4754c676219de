"""What is asked of every store behind a network."""

from __future__ import annotations

from tests.stores.contract.inspecting import InspectContract
from tests.stores.contract.lost_answer import LostAnswerContract
from tests.stores.contract.processes import ProcessContract
from tests.stores.contract.several import SeveralContract
from tests.stores.contract.verbs import StoreContract


class ServerContracts(StoreContract, InspectContract, LostAnswerContract, ProcessContract, SeveralContract):
    """For stores that many processes ask for their locks on a way that may break, and that show them."""
