"""From a job's arguments to its key."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import types

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from celery_locks import LockConfigError
from celery_locks.digest import digest
from celery_locks.keys import Arguments, KeyMaker

quietly = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def withdraw(user_id, amount=10, *, note=""): ...
def one(user_id): ...


def maker(source, function=withdraw) -> KeyMaker:
    return KeyMaker("bank.withdraw", source, Arguments.of(function, bound=False))


def key(source, function, *args, **kwargs) -> str:
    return maker(source, function)(args, kwargs)


def refusal(source, function=withdraw) -> str:
    with pytest.raises(LockConfigError) as caught:
        maker(source, function)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("task bank.withdraw: ")
    return caught.value.message.removeprefix("task bank.withdraw: ")


# Arguments


def positional_only(a, b=2, /): ...
def mixed(a, /, b, c=3, *rest, d, e=5, **more): ...
def defaults(a, b=2, c=None): ...
def nothing(): ...
def anything(*args, **kwargs): ...
def keywords_only(*, a, b=2): ...


FUNCTIONS = [withdraw, positional_only, mixed, defaults, nothing, anything, keywords_only]
NAMES = ["a", "b", "c", "d", "e", "user_id", "amount", "note", "other"]


def by_inspect(function, args, kwargs) -> dict:
    """What the standard library binds, with **kwargs spread out."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    found = dict(bound.arguments)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            found.update(found.pop(parameter.name))
    return found


@quietly
@given(
    st.sampled_from(FUNCTIONS),
    st.lists(st.integers(0, 9), max_size=4),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), max_size=4),
)
def test_binding_is_what_the_call_itself_would_bind(function, args, kwargs):
    """Any call binds as `inspect.signature` binds it, and one that cannot be made raises `TypeError`."""
    assume(not (function is mixed and "a" in kwargs))  # a name twice: see below
    try:
        expected = by_inspect(function, args, kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            Arguments.of(function, bound=False).bind(args, kwargs)
    else:
        assert Arguments.of(function, bound=False).bind(args, kwargs) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, 10), {}), ((1,), {"amount": 10}), ((), {"user_id": 1, "amount": 10}), ((1,), {}), ([1], {"note": ""})],
    ids=repr,
)
def test_the_same_call_written_differently_is_the_same(args, kwargs):
    """Positional or keyword, a default omitted or spelt out: one set of arguments, one digest."""
    bound = Arguments.of(withdraw, bound=False).bind(args, kwargs)
    assert bound == {"user_id": 1, "amount": 10, "note": ""}
    assert digest(bound) == digest({"user_id": 1, "amount": 10, "note": ""})


def test_a_bound_task_does_not_count_its_self():
    """Of a function that is still to be bound the first argument is the task."""

    def job(self, user_id): ...

    assert Arguments.of(job, bound=True).names == ["user_id"]


def test_a_bound_task_that_takes_anything_loses_nothing():
    """`*args` may take the task as well: nothing is dropped."""
    assert Arguments.of(anything, bound=True).names == ["args", "kwargs"]


def test_a_wrapped_function_is_known_by_the_one_it_wraps():
    """A decorator made with `functools.wraps` does not hide the arguments."""

    @functools.wraps(withdraw)
    def wrapper(*args, **kwargs): ...

    assert Arguments.of(wrapper, bound=False).names == ["user_id", "amount", "note"]


def test_a_missing_argument_is_the_calls_own_error():
    """A job sent without its argument fails as the call would."""
    with pytest.raises(TypeError, match=r"bank.withdraw\(\): missing a required argument: 'user_id'"):
        maker("wallet:{user_id}")((), {})


def test_a_superfluous_argument_is_the_calls_own_error():
    """A job sent with too much fails as the call would."""
    with pytest.raises(TypeError, match="too many positional arguments"):
        maker("wallet:{user_id}")((1, 2, 3), {})


@pytest.mark.parametrize("function", [withdraw, one], ids=["keyword-only", "plain"])
def test_an_argument_given_twice_is_the_calls_own_error(function):
    """Positional and keyword at once is refused, not guessed."""
    with pytest.raises(TypeError, match="multiple values for argument 'user_id'"):
        maker("wallet:{user_id}", function)((1,), {"user_id": 2})


def test_a_keyword_named_like_a_positional_only_argument_is_another_one():
    """`f(1, a=2)` and `f(3, a=2)` are different calls of `f(a, /, **more)`."""

    def f(a, /, **more): ...

    assert key("{args}", f, 1, a=2) != key("{args}", f, 3, a=2)
    assert key("{a}", f, 1, a=2) == "1"


def test_a_keyword_named_like_the_star_arguments_is_another_one():
    """`f(1, rest=2)` and `f(3, rest=2)` are different calls of `f(*rest, **more)`."""

    def f(*rest, **more): ...

    assert key("{args}", f, 1, rest=2) != key("{args}", f, 3, rest=2)


def test_a_collection_is_not_a_keyword_of_its_name():
    """`f(1, a=2)` and `f(1, more={"a": 2})` are different calls of `f(a, /, **more)`."""

    def f(a, /, **more): ...

    assert key("{args}", f, 1, a=2) != key("{args}", f, 1, more={"a": 2})


def test_a_keyword_argument_is_none_of_its_own_collection():
    """`f(a, **more)` called with `more=...` keeps what it was given."""

    def f(a, **more): ...

    assert key("{args}", f, 1, more=1) != key("{args}", f, 1, more=2)


# Templates


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


@pytest.mark.parametrize("answer", [None, 42, "", b"x", ["a"]], ids=repr)
def test_a_callable_must_answer_with_a_text(answer):
    """Anything else is no key."""
    with pytest.raises(LockConfigError) as caught:
        key(lambda **_: answer, one, 1)
    assert str(caught.value) == (
        f"task bank.withdraw: lock_key gave {answer!r}; a key is a text of at least one character"
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
    assert refusal(source) == f"lock_key must be a template such as 'wallet:{{user_id}}' or a callable, not {source!r}"


@pytest.mark.parametrize("source", [["a", "b"], ("a",), []], ids=repr)
def test_a_list_of_keys_is_refused(source):
    """One key a task in this version, and it says so."""
    assert refusal(source) == (f"lock_key is a list, {source!r}; this version locks one key a task: write one template")
