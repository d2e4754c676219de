"""From a job's own arguments to the key it locks."""

from __future__ import annotations

import _string  # type: ignore[import-not-found]  # the parser of fields that string.Formatter itself uses
import difflib
import inspect
import string
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from celery_locks.digest import digest
from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

KeySource: TypeAlias = "str | list[str] | tuple[str, ...] | Callable[..., str | list[str] | tuple[str, ...]]"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """What a task takes. Binding gives the same names and values however the job was called."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature
        parameters = signature.parameters.values()
        self.names = [each.name for each in parameters]
        self.any_keyword = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
        self._plain = all(each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for each in parameters)
        self._defaults = {each.name: each.default for each in parameters if each.default is not each.empty}

    @classmethod
    def of(cls, function: Callable[..., object], *, bound: bool) -> Arguments:
        """The arguments of a function; of one that is still to be bound, all but its first."""
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        drop = bound and parameters and parameters[0].kind in _POSITIONAL
        return cls(signature.replace(parameters=parameters[1:] if drop else parameters))

    def bind(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Each argument by name, defaults applied. Raises `TypeError` as the call itself would."""
        if self._plain and len(args) <= len(self.names):
            given = dict(zip(self.names, args))  # noqa: B905 - fewer arguments than names is the usual case
            if given.keys().isdisjoint(kwargs):
                bound = {**self._defaults, **given, **kwargs}
                if len(bound) == len(self.names) and bound.keys() == set(self.names):
                    return bound
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        for parameter in self.signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = found.pop(parameter.name)
                # One may be named like an argument that takes no keyword: they must not overwrite each other.
                found.update(extra if extra.keys().isdisjoint(found) else {f"**{parameter.name}": extra})
        return found


class KeyMaker:
    """Makes a task's keys. All that can be wrong before there is a job is found when it is made."""

    def __init__(self, task: str, source: KeySource, arguments: Arguments) -> None:
        self._task = task
        self._where = f"task {task}"
        self._arguments = arguments
        self._make = self._maker(source)
        #: What the task takes.
        self.names = arguments.names

    def __call__(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys of the job with these arguments: one, or several, sorted."""
        try:
            bound = self._arguments.bind(args, kwargs)
        except TypeError as error:
            raise TypeError(f"{self._task}(): {error}") from None
        made: object = self._make(bound)
        if isinstance(made, str) and made:
            return (made,)
        if isinstance(made, (list, tuple)) and made and all(isinstance(key, str) and key for key in made):
            return in_order(made)
        raise LockConfigError(
            f"{self._where}: lock_key gave {made!r}; a key is a text of at least one character, and several are a list"
            " of such"
        )

    def _maker(self, source: object) -> Callable[[dict[str, Any]], object]:
        if callable(source):
            return self._by_callable(source)
        if isinstance(source, str) and source:
            return self._by_template(source)
        if isinstance(source, (list, tuple)):
            return self._by_templates(source)
        raise LockConfigError(
            f"{self._where}: lock_key must be a template such as 'wallet:{{user_id}}', a list of templates, or a"
            f" callable, not {source!r}"
        )

    def _by_templates(self, sources: Sequence[object]) -> Callable[[dict[str, Any]], object]:
        for number, source in enumerate(sources):
            if not isinstance(source, str) or not source:
                raise LockConfigError(
                    f"{self._where}: lock_key[{number}] is {source!r}, and each in a list must be a template such as"
                    " 'wallet:{user_id}'"
                )
        if not sources:
            raise LockConfigError(f"{self._where}: lock_key is an empty list: name at least one key")
        makers = [self._by_template(str(source)) for source in sources]
        return lambda bound: [make(bound) for make in makers]

    def _by_callable(self, source: Callable[..., object]) -> Callable[[dict[str, Any]], object]:
        self._check_callable(source)
        return lambda bound: self._called(source, bound)

    def _called(self, source: Callable[..., object], bound: dict[str, Any]) -> object:
        try:
            return source(**bound)
        except Exception as error:
            raise LockConfigError(f"{self._where}: the lock_key callable failed on {bound!r}: {error!r}") from error

    def _check_callable(self, source: Callable[..., object]) -> None:
        try:
            signature = inspect.signature(source)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(**dict.fromkeys(self._arguments.names))
        except TypeError as error:
            if not self._arguments.any_keyword:
                raise LockConfigError(
                    f"{self._where}: the lock_key callable is given the task's arguments by name"
                    f" ({', '.join(self._arguments.names)}) and does not take them: {error};"
                    " add **_ for those it does not need"
                ) from None

    def _by_template(self, source: str) -> Callable[[dict[str, Any]], str]:
        fields = self._fields(source)
        fixed = {"task": self._task} if "task" in fields else {}
        for field in fields:
            self._check_field(source, field)
        if not fields:
            constant = _formatter.vformat(source, (), {})
            return lambda _: constant
        # Without parts it means the same, and takes a tenth of the time.
        fill = partial(_formatter.vformat, source, ()) if _has_parts(source) else source.format_map
        if "args" in fields:
            return lambda bound: self._format(source, fill, {**bound, **fixed, "args": digest(bound)})
        return lambda bound: self._format(source, fill, {**bound, **fixed})

    def _fields(self, source: str) -> set[str]:
        try:
            return set(_field_names(source))
        except ValueError as error:
            raise LockConfigError(
                f"{self._where}: lock_key {source!r} is not a template ({error}); write it as 'wallet:{{user_id}}',"
                " and a brace of its own as {{ or }}"
            ) from None

    def _check_field(self, source: str, field: str) -> None:
        if field in ("task", "args"):
            self._check_own_field(source, field)
        elif field not in self._arguments.names and not self._arguments.any_keyword:
            close = difflib.get_close_matches(field, self._arguments.names, n=1, cutoff=0.4)
            takes = ", ".join(self._arguments.names) or "no arguments"
            hint = f"did you mean {{{close[0]}}}?" if close else f"it takes {takes}"
            raise LockConfigError(
                f"{self._where}: lock_key {source!r} names {{{field}}}, which the task does not take: {hint}"
            )

    def _check_own_field(self, source: str, field: str) -> None:
        kinds = {each.name: each.kind for each in self._arguments.signature.parameters.values()}
        if kinds.get(field) not in (None, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise LockConfigError(
                f"{self._where}: {{{field}}} in lock_key {source!r} could be the argument of that name or the"
                f" {'task name' if field == 'task' else 'digest of all arguments'}: use a callable instead"
            )

    def _format(self, source: str, fill: Callable[[dict[str, Any]], str], values: dict[str, Any]) -> str:
        try:
            return fill(values)
        except Exception as error:
            raise LockConfigError(
                f"{self._where}: lock_key {source!r} cannot be filled in from this job's arguments: {error!r}"
            ) from error


class _Formatter(string.Formatter):
    """`str.format` that also takes `{order.tenant_id}` where the order is a mapping, as it is after JSON."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        first, rest = _split(field_name)
        found = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            found = _attribute(found, str(name)) if is_attribute else found[name]
        return found, first


def _attribute(owner: Any, name: str) -> Any:
    return owner[name] if isinstance(owner, Mapping) else getattr(owner, name)


def _split(field_name: str) -> tuple[str, list[tuple[bool, Any]]]:
    first, rest = _string.formatter_field_name_split(field_name)
    return str(first), list(rest)


def _field_names(template: str) -> list[str]:
    names: list[str] = []
    for _, field, spec, conversion in _formatter.parse(template):
        if field is None:
            continue
        first, rest = _split(field)
        if not first or first.isdigit():
            raise ValueError("fields are named, not numbered")
        if first in ("task", "args") and rest:
            raise ValueError(f"{{{first}}} has no parts")
        if conversion not in (None, "s", "r", "a"):
            raise ValueError(f"unknown conversion !{conversion}")
        names += [first, *_field_names(spec or "")]
    return names


def _has_parts(template: str) -> bool:
    """Whether a field is an item or an attribute of an argument."""
    fields = [(field, spec) for _, field, spec, _ in _formatter.parse(template) if field is not None]
    return any(_split(field)[1] or _has_parts(spec or "") for field, spec in fields)


def in_order(keys: Iterable[str]) -> tuple[str, ...]:
    """Several keys as everybody takes them: sorted, and each once."""
    return tuple(sorted(set(keys)))


_formatter = _Formatter()
