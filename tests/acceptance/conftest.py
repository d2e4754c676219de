"""Running systems to test in: a broker of each kind, a result backend, a lock store and two workers, made once."""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import celery
import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RabbitMQTestBroker,
    RedisTestBackend,
    RedisTestBroker,
)

from celery_locks import Locks
from tests.acceptance.journal import Journal
from tests.acceptance.nodes import Container, Worker, start_all
from tests.acceptance.office import Office
from tests.acceptance.queues import QUEUES, configure
from tests.acceptance.rivals import QUEUE
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from tests.servers.process import PrivateServer


_numbers = itertools.count(1)

#: Before version 5.5 Celery cannot read from a quorum queue.
collect_ignore = ["test_quorum.py"] if celery.VERSION < (5, 5) else []
# django-celery-beat is not for the Django that later Pythons are tested with.
collect_ignore += ["test_database_beat.py"] if sys.version_info >= (3, 12) else []


class System:
    """What outlives a test: a broker, a backend, a store for the locks, a journal."""

    def __init__(self, broker: PrivateServer, broker_url: str, hub: RedisServer, vault: RedisServer, journal: Journal):
        self.broker, self.hub, self.vault = broker, hub, vault
        self.journal = journal
        self.conf: dict[str, Any] = {
            "broker_url": broker_url,
            "result_backend": f"{hub.url[:-1]}1",
            "lock_store": vault.url,
            "lock_countdown": 0.2,
            "lock_ttl": 5.0,
            "worker_hijack_root_logger": True,
        }


@pytest.fixture(scope="session")
def hub() -> Iterator[RedisServer]:
    """The Redis that carries messages and results; nobody flushes it."""
    require(REDIS)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def vault() -> Iterator[RedisServer]:
    """The Redis that keeps the locks."""
    require(REDIS)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session", params=["redis", "rabbitmq"])
def system(
    request: pytest.FixtureRequest, hub: RedisServer, vault: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """The system without workers, once for each broker."""
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            server, url = hub, hub.url
        else:
            server = request.getfixturevalue("rabbitmq_server")
            url = stack.enter_context(server.vhost())
        yield System(server, url, hub, vault, journal)


@pytest.fixture(scope="session")
def two_workers(system: System) -> Iterator[list[Worker]]:
    """Two prefork workers of two processes each, which all tests of a broker share: a test has keys of its own."""
    with contextlib.ExitStack() as stack:
        workers = [Worker(name, system.conf, system.journal, queues=QUEUES) for name in ("ann", "bob")]
        for worker in workers:
            stack.callback(worker.close)
        start_all(workers)
        yield workers


class Setup(CeleryTestSetup):
    """pytest-celery's view of the system, with the app that tests send through."""

    @classmethod
    def update_app_config(cls, app: Celery) -> None:
        configure(app)


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return Setup


@pytest.fixture
def celery_broker_cluster(system: System) -> CeleryBrokerCluster:
    """Our broker as pytest-celery's cluster of one node."""
    node = RedisTestBroker if system.broker is system.hub else RabbitMQTestBroker
    return CeleryBrokerCluster(node(Container(system.broker, system.conf["broker_url"])))


@pytest.fixture
def celery_backend_cluster(system: System) -> Iterator[CeleryBackendCluster]:
    """Our backend as pytest-celery's cluster of one node."""
    node = RedisTestBackend(Container(system.hub, system.conf["result_backend"]))
    yield CeleryBackendCluster(node)
    # It parts the results that a failed test left from their backend: they would call it when it is gone.
    node.teardown()


@pytest.fixture
def celery_setup_app(celery_setup_cls: type[Setup], celery_setup_config: dict[str, str]) -> Iterator[Celery]:
    """The app that tests send through. It knows no task: they are sent by name."""
    with celery_setup_cls.create_setup_app(celery_setup_config, "acceptance") as app:
        yield app
        app.backend.result_consumer.stop()


@pytest.fixture
def celery_worker_cluster(two_workers: list[Worker], celery_setup_app: Celery) -> CeleryWorkerCluster:
    """The shared workers as pytest-celery's cluster of two nodes."""
    for worker in two_workers:
        worker.start()
    return CeleryWorkerCluster(*(CeleryTestWorker(Container(worker), celery_setup_app) for worker in two_workers))


@pytest.fixture
def desk(system: System, celery_setup_app: Celery, request: pytest.FixtureRequest) -> Iterator[Office]:
    """Where a test sends jobs and looks at keys; no worker yet."""
    with contextlib.ExitStack() as stack:
        locks = Locks(system.vault.url)
        stack.callback(locks.close)
        name = request.node.name.partition("[")[0].removeprefix("test_")
        yield Office(celery_setup_app, system.journal, locks, system.vault, f"{name}-{next(_numbers)}")


@pytest.fixture
def office(desk: Office, celery_setup: CeleryTestSetup) -> Office:
    """The desk, with the two shared workers behind it."""
    assert celery_setup.ready(docker=True)
    return desk


@pytest.fixture(scope="module")
def crew(system: System) -> Iterator[Worker]:
    """A worker of two processes for all workflows of a file that nobody kills."""
    worker = Worker("crew", system.conf, system.journal, queues=[QUEUE], module="tests.acceptance.workflows")
    with contextlib.closing(worker):
        worker.start()
        yield worker


@pytest.fixture
def hire(system: System) -> Iterator[Callable[..., Worker]]:
    """Makes workers for one test: not started, and gone at its end."""
    with contextlib.ExitStack() as stack:

        def new(name: str, conf: dict[str, Any] | None = None, **options: Any) -> Worker:
            # RabbitMQ may still hold the queues of a worker of the same name that was killed just now.
            name = f"{name}-{next(_numbers)}"
            worker = Worker(name, {**system.conf, **(conf or {})}, system.journal, **options)
            stack.callback(worker.close)
            # Shown where the test fails.
            stack.callback(lambda: print(f"{name} said at last:\n{worker.log_tail(30)}"))  # noqa: T201
            return worker

        yield new


@pytest.fixture
def hire_kept(hire: Callable[..., Worker]) -> Callable[..., Worker]:
    """Makes workers that know the jobs which make it hard to keep their leases."""

    def new(name: str, conf: dict[str, Any] | None = None, **options: Any) -> Worker:
        return hire(name, conf, module="tests.acceptance.stubborn", **options)

    return new
