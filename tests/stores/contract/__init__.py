"""What every store must do, written once: a class a capability. A store's test is its factory.

    class TestRedisStore(ServerContracts, ExpiringContract):
        store_type = RedisStore

        @pytest.fixture
        def url(self, redis_url):
            return redis_url

Each store that is opened at the `url` is another client of the same locks, of which none is taken when a test begins.
Forked processes open theirs too.
"""

from tests.stores.contract.asking import ODD_KEYS, Opens, claim, patient, refused, run_out, take, verdict
from tests.stores.contract.broken_ways import CutAnswerContract, InterruptContract, LateAnswerContract
from tests.stores.contract.connection import ConnectionContract
from tests.stores.contract.crowd_lines import CrowdLinesContract
from tests.stores.contract.crowds import CrowdsContract
from tests.stores.contract.crowds_expiring import CrowdsExpiringContract
from tests.stores.contract.evicting import CrowdEvictsContract, EvictsContract
from tests.stores.contract.expiring import ExpiringContract
from tests.stores.contract.faults import FaultContract, Scene, killed, nothing
from tests.stores.contract.fixtures import StoreFixtures
from tests.stores.contract.giving_up import GivesUp, GivingUpContract
from tests.stores.contract.handing import HandingContract
from tests.stores.contract.inspecting import InspectContract
from tests.stores.contract.joining import JoiningContract
from tests.stores.contract.leaving import LeavingContract
from tests.stores.contract.lines import LinesContract
from tests.stores.contract.lost_answer import LostAnswerContract
from tests.stores.contract.noting import NotesContract
from tests.stores.contract.positioning import PositionsContract
from tests.stores.contract.processes import ProcessContract
from tests.stores.contract.queues import QueuesContract
from tests.stores.contract.rush import RushContract
from tests.stores.contract.server import ServerContracts
from tests.stores.contract.several import SeveralContract
from tests.stores.contract.slots import SlotsContract
from tests.stores.contract.tables import TablesContract
from tests.stores.contract.verbs import StoreContract
from tests.stores.contract.waiting import OpensWith
from tests.stores.contract.watching import WatchesContract

__all__ = [
    "ODD_KEYS",
    "ConnectionContract",
    "CrowdEvictsContract",
    "CrowdLinesContract",
    "CrowdsContract",
    "CrowdsExpiringContract",
    "CutAnswerContract",
    "EvictsContract",
    "ExpiringContract",
    "FaultContract",
    "GivesUp",
    "GivingUpContract",
    "HandingContract",
    "InspectContract",
    "InterruptContract",
    "JoiningContract",
    "LateAnswerContract",
    "LeavingContract",
    "LinesContract",
    "LostAnswerContract",
    "NotesContract",
    "Opens",
    "OpensWith",
    "PositionsContract",
    "ProcessContract",
    "QueuesContract",
    "RushContract",
    "Scene",
    "ServerContracts",
    "SeveralContract",
    "SlotsContract",
    "StoreContract",
    "StoreFixtures",
    "TablesContract",
    "WatchesContract",
    "claim",
    "killed",
    "nothing",
    "patient",
    "refused",
    "run_out",
    "take",
    "verdict",
]
