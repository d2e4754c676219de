"""One model for each way in which a fence can be among the tables."""

from __future__ import annotations

from django.db import models

from celery_locks.fencing.django import Fenced


class Owner(models.Model):  # type: ignore[misc]  # noqa: DJ008 - nobody reads it
    name = models.CharField(max_length=50)


class Account(Fenced):
    owner = models.ForeignKey(Owner, models.CASCADE, null=True)
    balance = models.IntegerField(default=0)
    label = models.CharField(max_length=50, default="")
    changed = models.DateTimeField(auto_now=True)


class Joint(Account):
    """The same table under another name."""

    class Meta:
        proxy = True


class Savings(Account):
    """The fence is in the table of its parent."""

    interest = models.IntegerField(default=0)


class Asset(models.Model):  # type: ignore[misc]  # noqa: DJ008
    price = models.IntegerField(default=0)


class House(Fenced, Asset):  # noqa: DJ008
    """The fence is in its own table, and not in that of its parent."""

    rooms = models.IntegerField(default=0)

    class Meta:
        select_on_save = True


class Vault(Fenced):
    """Guarded by a key that its columns say."""

    __fence_key__ = "vault:{owner}"
    owner = models.IntegerField()
    gold = models.IntegerField(default=0)


class Note(Fenced):
    """A row with a name and a value."""

    name = models.CharField(max_length=100, primary_key=True)
    value = models.CharField(max_length=200, default="")


ALL = (Owner, Account, Savings, Asset, House, Vault, Note)
