"""What the tests of guards may ask for."""

from tests.fencing.bank.fixtures import bank_database, bank_url

__all__ = ["bank_database", "bank_url"]
