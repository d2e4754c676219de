"""Keys made from a template over a job's arguments."""

from __future__ import annotations

import datetime as dt
import types

import pytest

from celery_locks import LockConfigError
from celery_locks.digest import digest
from tests.unit.keymaking import anything, key, one, positional_only, refusal, withdraw


def dated(date): ...


def ordered(order): ...


def test_a_template_takes_a_positional_or_a_keyword_argument():
    """However the job was called its key is the same."""
    assert key("wallet:{user_id}", withdraw, 42) == key("wallet:{user_id}", withdraw, user_id=42) == "wallet:42"


def test_a_template_takes_defaults():
    """An omitted argument has its default."""
    assert key("{user_id}:{amount}", withdraw, 1) == key("{user_id}:{amount}", withdraw, 1, 10) == "1:10"


def test_a_template_takes_keyword_only_arguments():
    """As it takes all others."""
    assert key("{note}:{user_id}", withdraw, 1, note="gift") == "gift:1"


def test_a_template_takes_positional_only_arguments():
    """They have names too."""
    assert key("{a}-{b}", positional_only, 1) == "1-2"


def test_a_template_takes_what_goes_into_kwargs():
    """A task with **kwargs can be locked on any keyword."""
    assert key("tenant:{tenant}", anything, tenant=3) == "tenant:3"


def test_a_template_takes_an_item_of_the_star_arguments():
    """`*args` is known by its name and indexed."""

    def job(*users): ...

    assert key("user:{users[0]}", job, 7, 8) == "user:7"


def test_a_keyword_the_job_lacks_is_named():
    """Where any keyword is allowed its absence shows with the job only."""
    with pytest.raises(LockConfigError) as caught:
        key("tenant:{tenant}", anything, other=3)
    assert str(caught.value) == (
        "task bank.withdraw: lock_key 'tenant:{tenant}' cannot be filled in from this job's arguments:"
        " KeyError('tenant')"
    )


@pytest.mark.parametrize(
    "order",
    [types.SimpleNamespace(tenant_id=7, items=1), {"tenant_id": 7, "items": 1}],
    ids=["object", "mapping"],
)
def test_a_field_of_an_argument_is_found_in_objects_and_mappings(order):
    """`{order.tenant_id}` works before and after JSON, also where a mapping has a method of that name."""
    assert key("tenant:{order.tenant_id}", ordered, order) == "tenant:7"
    assert key("{order.items}", ordered, order) == "1"


def test_an_item_of_an_argument_is_found():
    """`{order[tenant]}` and `{order[0]}` are items, as in `str.format`."""
    assert key("{order[tenant]}", ordered, {"tenant": 7}) == "7"
    assert key("{order[1]}", ordered, [5, 6]) == "6"


def test_fields_may_be_deep():
    """Attributes and items follow each other, in objects and mappings alike."""
    order = types.SimpleNamespace(lines=[{"sku": {"code": "X1"}}])
    assert key("{order.lines[0].sku.code}", ordered, order) == "X1"


def test_a_missing_field_is_named():
    """A job whose order has no tenant says so, and does not run unlocked."""
    with pytest.raises(LockConfigError, match=r"'\{order\.tenant_id\}' cannot be filled in .*KeyError\('tenant_id'\)"):
        key("{order.tenant_id}", ordered, {})


@pytest.mark.parametrize("date", [dt.date(2026, 3, 1), dt.datetime(2026, 3, 1, 9, tzinfo=dt.timezone.utc)], ids=repr)
def test_a_format_spec_is_applied(date):
    """`{date:%Y-%m}` is the month."""
    assert key("report:{date:%Y-%m}", dated, date) == "report:2026-03"


def test_a_format_spec_may_hold_fields():
    """As in `str.format`, and they are checked like others."""
    assert key("{user_id:0{amount}d}", withdraw, 42, 5) == "00042"
    assert "names {width}" in refusal("{user_id:0{width}d}")


def test_a_format_spec_the_value_does_not_know_is_named():
    """A date sent as text cannot be formatted as a date: the job says so."""
    with pytest.raises(LockConfigError, match=r"cannot be filled in .*ValueError"):
        key("report:{date:%Y-%m}", dated, "2026-03-01")


@pytest.mark.parametrize(("conversion", "made"), [("r", "'é'"), ("s", "é"), ("a", "'\\xe9'")])
def test_a_conversion_is_applied(conversion, made):
    """`!r`, `!s` and `!a` are those of `str.format`."""
    assert key(f"{{user_id!{conversion}}}", one, "é") == made


def test_escaped_braces_are_braces():
    """`{{` and `}}` are text, beside fields and alone."""
    assert key("{{{user_id}}}", one, 42) == "{42}"
    assert key("{{user_id}}", one, 42) == "{user_id}"


def test_a_template_without_fields_is_one_key():
    """All jobs of such a task share one key."""
    assert key("import", withdraw, 1) == key("import", withdraw, 2) == "import"


def test_the_task_name_is_a_field():
    """`{task}` is the task's name."""
    assert key("{task}:{user_id}", withdraw, 1) == "bank.withdraw:1"


def test_the_digest_of_all_arguments_is_a_field():
    """`{args}` is the digest of the bound arguments."""
    expected = digest({"user_id": 1, "amount": 10, "note": ""})
    assert key("{args}", withdraw, 1) == key("{args}", withdraw, user_id=1, amount=10) == expected


def test_the_digest_is_meant_also_where_a_task_has_star_args():
    """In a task with *args, as in any, `{args}` is the digest of everything."""
    assert key("{args}", anything, 1, x=2) == digest({"args": (1,), "x": 2})


def test_task_and_args_stand_together():
    """The key that celery-once makes: `{task}:{args}`."""
    assert key("{task}:{args}", one, 1) == f"bank.withdraw:{digest({'user_id': 1})}"


def test_a_keyword_called_task_does_not_become_the_task_name():
    """`{task}` stays the task's name when a job's own keywords have a `task` among them."""
    assert key("{task}", anything, task="other") == "bank.withdraw"
