"""What every test may ask for."""

from tests.servers.fixtures import (
    _healed_servers,
    proxy,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_terminal_summary,
    rabbitmq_server,
    rabbitmq_url,
    redis_cluster,
    redis_server,
    redis_tls_server,
    redis_url,
    sentinel_group,
    valkey_server,
    valkey_url,
)

__all__ = [
    "_healed_servers",
    "proxy",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "rabbitmq_server",
    "rabbitmq_url",
    "redis_cluster",
    "redis_server",
    "redis_tls_server",
    "redis_url",
    "sentinel_group",
    "valkey_server",
    "valkey_url",
]
