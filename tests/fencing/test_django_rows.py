"""What is written to many rows of a Django model at once."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from celery_locks import LockError, LockNotOwned, Locks, StaleFence
from tests.fencing.bank.accounts import accounts, labelled, stored
from tests.fencing.bank.models import Account, Asset, House, Owner, Savings, Vault
from tests.fencing.leases import joint_lease_of, lease_of

pytestmark = pytest.mark.usefixtures("bank_database")


def test_rows_are_written_together():
    """With expressions; how many there were is told."""
    accounts(None, 0, 5, balance=10)
    Account.objects.create(label="other")
    assert Account.objects.filter(label="").fenced_update(lease_of(5), balance=F("balance") + 1) == 3
    assert stored() == [(11, 5), (11, 5), (11, 5), (0, None)]


def test_all_or_none_are_written():
    """One row of a newer holder is enough, and is named; without a transaction around it there is one of its own."""
    *_, newer, _ = accounts(None, 4, 6, 5)
    with pytest.raises(StaleFence, match=f"bank.Account {newer.pk} was not written.* for fence 6 has been there"):
        Account.objects.fenced_update(lease_of(5), balance=10)
    assert stored() == [(0, None), (0, 4), (0, 6), (0, 5)]


def test_rows_that_do_not_match_do_not_count():
    """A newer fence elsewhere is nobody's concern."""
    accounts(6, label="theirs")
    accounts(4, label="ours")
    assert Account.objects.filter(label="ours").fenced_update(lease_of(5), label="done") == 1


def test_none_that_match_are_none_written():
    """Which is no error, as with `update()`."""
    assert Account.objects.filter(pk=1).fenced_update(lease_of(5), balance=10) == 0
    assert Account.objects.filter(label="x").fenced_update(lease_of(5), balance=10) == 0
    assert Account.objects.none().fenced_update(lease_of(5), balance=10) == 0


def test_one_row_of_which_the_key_is_known_takes_one_statement():
    """And no transaction: there can be no other row to look at."""
    (mine,) = accounts(4)
    with CaptureQueriesContext(connection) as said:
        assert Account.objects.filter(pk=mine.pk, label="").fenced_update(lease_of(5), balance=10) == 1
    assert [each["sql"].partition(" ")[0] for each in said.captured_queries] == ["UPDATE"]
    with pytest.raises(StaleFence):
        Account.objects.filter(pk=mine.pk).fenced_update(lease_of(4), balance=11)
    assert stored() == [(10, 5)]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda: Account.objects.filter(pk=F("pk")), id="expression"),
        pytest.param(lambda: Account.objects.exclude(pk=0), id="exclude"),
        pytest.param(lambda: Account.objects.filter(Q(pk=0) | ~Q(label="x")), id="or"),
        pytest.param(lambda: labelled("x") | labelled("") | Account.objects.filter(pk=0), id="joined"),
    ],
)
def test_what_only_looks_like_one_row_is_many(rows):
    """All of them are looked at."""
    accounts(4, 6)
    with pytest.raises(StaleFence):
        rows().fenced_update(lease_of(5), balance=10)
    assert stored() == [(0, 4), (0, 6)]


@pytest.mark.parametrize("by", ["pk", "label"])
def test_a_refusal_undoes_the_transaction(by):
    """Also of rows that were written before, with the error caught; and of one row as of many."""
    accounts(4, label="first")
    (newer,) = accounts(6)
    with transaction.atomic():
        labelled("first").fenced_update(lease_of(5), balance=10)
        with pytest.raises(StaleFence):
            Account.objects.filter(**{by: getattr(newer, by)}).fenced_update(lease_of(5), balance=10)
        with pytest.raises(TransactionManagementError):
            Account.objects.count()
    assert stored() == [(0, 4), (0, 6)]


def test_a_savepoint_bounds_a_refusal():
    """And some other write is done in its place."""
    one, _ = accounts(4, 6)
    with transaction.atomic():
        with pytest.raises(StaleFence), transaction.atomic():
            Account.objects.fenced_update(lease_of(5), balance=10)
        Account.objects.filter(pk=one.pk).fenced_update(lease_of(5), balance=20)
    assert stored() == [(20, 5), (0, 6)]


FILTERS = {
    "join": lambda: Account.objects.filter(owner__name="Ann"),
    "subquery": lambda: Account.objects.filter(owner__in=Owner.objects.filter(name="Ann")),
    "exists": lambda: Account.objects.filter(Exists(Owner.objects.filter(pk=OuterRef("owner"), name="Ann"))),
    "annotation": lambda: Account.objects.annotate(one=Value(1)).filter(one=1, owner__isnull=False),
    "either": lambda: Account.objects.filter(balance__lt=0) | Account.objects.exclude(owner=None),
    "own": lambda: Account.objects.filter(pk__in=[*Account.objects.exclude(owner=None).values_list("pk", flat=True)]),
    "ordered": lambda: Account.objects.exclude(owner=None).order_by("owner__name").distinct(),
    "related": lambda: Owner.objects.get().account_set.filter(balance__gte=0),
}


@pytest.mark.parametrize("rows", FILTERS.values(), ids=FILTERS)
def test_rows_may_be_found_in_any_way(rows):
    """Through other tables too: all or none are written."""
    ann = Owner.objects.create(name="Ann")
    accounts(4, 5, owner=ann)
    accounts(9)
    assert rows().fenced_update(lease_of(5), balance=F("balance") + 1) == 2
    accounts(6, owner=ann)
    with pytest.raises(StaleFence):
        rows().fenced_update(lease_of(5), balance=10)
    assert stored() == [(1, 5), (1, 5), (0, 9), (0, 6)]


def test_a_child_is_guarded_by_the_fence_of_its_parent():
    """Whichever of the two tables its columns are in."""
    Savings.objects.create(interest=1, fence=4)
    assert Savings.objects.filter(interest=1).fenced_update(lease_of(5), balance=10, interest=2) == 1
    Savings.objects.create(interest=2, fence=6)
    with pytest.raises(StaleFence):
        Savings.objects.filter(interest=2).fenced_update(lease_of(5), balance=20, interest=3)
    assert [*Savings.objects.order_by("pk").values_list("balance", "interest", "fence")] == [(10, 2, 5), (0, 2, 6)]


def test_a_parent_is_guarded_by_the_fence_of_the_child():
    """Its own row, and no other."""
    House.objects.create(price=1, fence=4)
    Asset.objects.create(price=1)
    assert House.objects.filter(price=1).fenced_update(lease_of(5), price=2) == 1
    with pytest.raises(StaleFence):
        House.objects.fenced_update(lease_of(4), price=3)
    assert [*Asset.objects.order_by("pk").values_list("price", flat=True)] == [2, 1]


def test_the_lease_of_the_running_job_is_the_default():
    """For both."""
    (mine,) = accounts(4)
    with transaction.atomic():
        claimed = Locks("memory://").run("wallet", lambda: Account.objects.claim(pk=mine.pk))
    Locks("memory://").run("wallet", lambda: Account.objects.fenced_update(balance=10))
    assert stored()[0][0] == 10
    assert stored()[0][1] >= claimed.fence
    with pytest.raises(LockError, match="hand it to the guard"):
        Account.objects.fenced_update(balance=11)
    with pytest.raises(LockError, match="hand it to the guard"):
        Account.objects.claim(pk=mine.pk)


def test_the_fence_is_not_given():
    """It is the lease's."""
    with pytest.raises(TypeError, match="it is set to the fence of the lease"):
        Account.objects.fenced_update(lease_of(5), fence=7)


def test_a_lease_of_another_key_is_refused():
    """One row of another key among them is enough; nothing is written or claimed."""
    Vault.objects.create(owner=7)
    lease = lease_of(5, key="vault:7")
    assert Vault.objects.fenced_update(lease, gold=1) == 1
    with transaction.atomic():
        assert Vault.objects.claim(lease, owner=7).gold == 1
    Vault.objects.create(owner=8)
    with pytest.raises(LockNotOwned, match=r"'vault:8'.*'vault:7'"):
        Vault.objects.fenced_update(lease, gold=2)
    with transaction.atomic():
        with pytest.raises(LockNotOwned, match=r"'vault:8'.*'vault:7'"):
            Vault.objects.claim(lease, owner=8)
        with pytest.raises(TransactionManagementError):
            Vault.objects.count()
    assert [*Vault.objects.order_by("owner").values_list("gold", "fence")] == [(1, 5), (0, None)]


def test_rows_of_several_keys_are_written_under_the_lease_of_all():
    """All or none of them; a row of yet another key is refused."""
    for owner in (7, 8, 9):
        Vault.objects.create(owner=owner)
    lease = joint_lease_of(5, "vault:7", "vault:8")
    assert Vault.objects.filter(owner__in=[7, 8]).fenced_update(lease, gold=1) == 2
    with transaction.atomic():
        assert Vault.objects.claim(lease, owner=8).fence == 5
    with pytest.raises(LockNotOwned, match=r"'vault:9'.*\['vault:7', 'vault:8'\]"):
        Vault.objects.fenced_update(lease, gold=2)
    assert [*Vault.objects.order_by("owner").values_list("gold", "fence")] == [(1, 5), (1, 5), (0, None)]


def test_a_key_may_be_the_same_for_all_rows(monkeypatch):
    """A template of no column."""
    monkeypatch.setattr(Vault, "__fence_key__", "vaults")
    Vault.objects.create(owner=7)
    assert Vault.objects.fenced_update(lease_of(5, key="vaults")) == 1
    with pytest.raises(LockNotOwned):
        Vault.objects.fenced_update(lease_of(5, key="vault:7"))


def test_a_slice_is_not_updated():
    """Django says so, of `update()` too."""
    with pytest.raises(TypeError, match="slice"):
        Account.objects.all()[:1].fenced_update(lease_of(5), balance=1)
