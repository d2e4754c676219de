"""From a list of templates, or a callable that gives a list, to the keys of a job."""

from __future__ import annotations

import pytest

from celery_locks import LockConfigError
from tests.unit.keymaking import keys, maker, refusal


def transfer(source, target, amount=10): ...


def test_a_list_of_templates_is_one_key_each():
    """Filled in like one template, and sorted: everybody takes them in the same order."""
    wallets = ["wallet:{source}", "wallet:{target}"]
    assert keys(wallets, transfer, 7, 5) == ("wallet:5", "wallet:7")
    assert keys(tuple(wallets), transfer, 5, target=7) == ("wallet:5", "wallet:7")


def test_a_key_that_comes_twice_is_one_key():
    """A transfer from a wallet to itself locks one wallet."""
    assert keys(["wallet:{source}", "wallet:{target}"], transfer, 7, 7) == ("wallet:7",)


def test_a_list_may_hold_one_template():
    """And is as good as that template."""
    assert keys(["wallet:{source}"], transfer, 7, 5) == ("wallet:7",)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_callable_may_give_several(kind):
    """As a list or a tuple of texts."""
    assert keys(lambda source, target, **_: kind([f"b{source}", f"a{target}"]), transfer, 1, 2) == ("a2", "b1")


@pytest.mark.parametrize("made", [[], ["a", ""], ["a", 7], {"a": 1}, {"a"}, [["a"]]], ids=repr)
def test_a_callable_that_gives_anything_else_is_told(made):
    """When there is a job: before that it was not called."""
    with pytest.raises(LockConfigError, match="several are a list of such"):
        maker(lambda **_: made, transfer)((1, 2), {})


def test_an_empty_list_is_refused():
    """A job that locks nothing has no reason to be a locked one."""
    assert refusal([]) == "lock_key is an empty list: name at least one key"


@pytest.mark.parametrize(
    "member", [7, None, "", ["a"], lambda **_: "a"], ids=["number", "None", "empty", "list", "call"]
)
def test_a_member_that_is_no_template_is_named(member):
    """By its place in the list, when the task is declared."""
    assert refusal(["wallet:{source}", member], transfer).startswith(f"lock_key[1] is {member!r}, and each in a list")


def test_each_template_is_checked():
    """As the one is: with the name that was meant."""
    said = refusal(["wallet:{source}", "wallet:{traget}"], transfer)
    assert said == "lock_key 'wallet:{traget}' names {traget}, which the task does not take: did you mean {target}?"
