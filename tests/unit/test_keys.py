"""Keys made by a callable, and what is said of a key that cannot be made."""

from __future__ import annotations

import functools

import pytest

from celery_locks import LockConfigError
from tests.unit.keymaking import key, nothing, one, refusal, withdraw

# Callables


def test_a_callable_is_given_the_bound_arguments():
    """It gets every argument by name, defaults applied."""
    seen = []

    def source(**bound):
        seen.append(bound)
        return "x"

    assert key(source, withdraw, 1) == "x"
    assert seen == [{"user_id": 1, "amount": 10, "note": ""}]


def test_a_callable_may_take_what_it_needs():
    """`**_` swallows the rest."""
    assert key(lambda user_id, **_: f"shard:{user_id % 10}", withdraw, 42) == "shard:2"


def test_a_callable_may_be_a_partial():
    """Any callable does."""
    assert key(functools.partial("shard:{user_id}".format), one, 42) == "shard:42"


def test_a_callable_that_does_not_take_the_arguments_is_refused():
    """Found when declared: it names what it is given and the mend."""
    assert refusal(lambda user_id: user_id) == (
        "the lock_key callable is given the task's arguments by name (user_id, amount, note) and does not take them:"
        " got an unexpected keyword argument 'amount'; add **_ for those it does not need"
    )


def test_a_callable_that_wants_more_than_there_is_is_refused():
    """An argument that no job has is found when declared."""
    assert "missing a required argument: 'tenant'" in refusal(lambda tenant, **_: tenant)


class Hidden:
    __signature__ = "not to be read"

    def __call__(self, amount): ...


def test_a_callable_whose_signature_is_hidden_is_tried():
    """Where nothing can be known before, the first job tells."""
    with pytest.raises(LockConfigError, match=r"the lock_key callable failed on {'user_id': 1}: TypeError"):
        key(Hidden(), one, 1)


def test_a_callable_that_fails_is_named_with_its_arguments():
    """The job's error shows what the callable was given and what it raised."""
    with pytest.raises(LockConfigError) as caught:
        key(lambda user_id: str(1 // user_id), one, 0)
    assert str(caught.value) == (
        "task bank.withdraw: the lock_key callable failed on {'user_id': 0}: ZeroDivisionError('integer division or"
        " modulo by zero')"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("answer", [None, 42, "", b"x"], ids=repr)
def test_a_callable_must_answer_with_a_text(answer):
    """Anything else is no key."""
    with pytest.raises(LockConfigError) as caught:
        key(lambda **_: answer, one, 1)
    assert str(caught.value) == (
        f"task bank.withdraw: lock_key gave {answer!r}; a key is a text of at least one character, and several are a"
        " list of such"
    )


def test_an_empty_key_is_refused():
    """A template that comes to nothing would lock all such jobs on one nameless key."""
    with pytest.raises(LockConfigError, match="lock_key gave ''"):
        key("{user_id}", one, "")


# Mistakes


def test_a_near_miss_gets_the_argument_that_was_meant():
    """`{user}` in a task with `user_id`."""
    assert refusal("wallet:{user}") == (
        "lock_key 'wallet:{user}' names {user}, which the task does not take: did you mean {user_id}?"
    )


def test_a_strange_name_gets_the_list():
    """Where nothing is near, all arguments are named."""
    assert refusal("{xyz}").endswith("which the task does not take: it takes user_id, amount, note")


def test_a_task_without_arguments_says_so():
    """Nothing can be filled in there."""
    assert refusal("{user_id}", nothing).endswith("which the task does not take: it takes no arguments")


def test_one_wrong_name_among_right_ones_is_found():
    """Every field is checked."""
    assert "names {day}" in refusal("{user_id}:{day}")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("wallet:{user_id", "expected '}' before end of string"),
        ("wallet:{", "Single '{' encountered in format string"),
        ("wallet:}", "Single '}' encountered in format string"),
        ("wallet:{}", "fields are named, not numbered"),
        ("wallet:{0}", "fields are named, not numbered"),
        ("{args.user_id}", "{args} has no parts"),
        ("{task[0]}", "{task} has no parts"),
        ("{user_id!x}", "unknown conversion !x"),
    ],
)
def test_a_broken_template_is_refused(template, says):
    """It says what is broken, and how a field and a brace are written."""
    assert refusal(template) == (
        f"lock_key {template!r} is not a template ({says}); write it as 'wallet:{{user_id}}', and a brace of its own as"
        " {{ or }}"
    )


@pytest.mark.parametrize(("field", "meaning"), [("task", "task name"), ("args", "digest of all arguments")])
def test_an_argument_called_like_an_own_field_is_ambiguous(field, meaning):
    """A task with an argument called `task` must say which is meant."""
    function = {"task": lambda task: task, "args": lambda args: args}[field]
    assert refusal(f"{{{field}}}", function) == (
        f"{{{field}}} in lock_key '{{{field}}}' could be the argument of that name or the {meaning}:"
        " use a callable instead"
    )


def test_an_argument_called_task_is_no_trouble_elsewhere():
    """A template that does not name it works."""

    def job(task, user_id): ...

    assert key("wallet:{user_id}", job, "x", 42) == "wallet:42"


@pytest.mark.parametrize("source", [None, 42, "", b"x", {"a"}], ids=repr)
def test_a_key_that_is_no_template_is_refused(source):
    """Neither text nor callable."""
    assert refusal(source) == (
        f"lock_key must be a template such as 'wallet:{{user_id}}', a list of templates, or a callable, not {source!r}"
    )
