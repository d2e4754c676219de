"""The databases of a Django project, made once and emptied for each test."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.fencing import bank
from tests.fencing.bank.models import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=["postgres", "mariadb", "sqlite"])
def bank_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with the tables of the bank, on each server in turn."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite://{tmp_path_factory.mktemp('bank')}/bank.db"
        else:
            url = stack.enter_context(request.getfixturevalue(f"{request.param}_server").database())
        with bank.served(url):
            bank.make_tables(*ALL)
        yield url


@pytest.fixture
def bank_database(bank_url: str) -> Iterator[str]:
    """Which one it is, empty, as Django's default."""
    with bank.served(bank_url):
        for model in reversed(ALL):
            model._base_manager.all()._raw_delete("default")
        yield connection.vendor
