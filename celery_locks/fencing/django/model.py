"""A model whose rows have a fence, and the guarded save of one instance."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar

from django.core import checks
from django.db import models, router, transaction

from celery_locks.errors import LockConfigError
from celery_locks.fencing.bearer import bearer
from celery_locks.fencing.django.admission import admit, latest, refusal
from celery_locks.fencing.django.keys import columns, ensure_own, kept, key_of, values_of
from celery_locks.fencing.django.rows import FencedQuerySet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock


def fenced(instance: Fenced, lease: Lease | Lock | None = None, **saving: Any) -> None:
    """Save an instance if nobody with a higher fence has written its row, in one conditional UPDATE.

    It is `instance.save()`, with its signals, and takes what that takes. Raises `StaleFence` when it was refused, and
    the model's `DoesNotExist` when the row is gone. Either undoes the innermost `atomic()`, as a failed save does. An
    instance that is new is inserted, with its fence.
    """
    if not isinstance(instance, Fenced):
        raise TypeError(
            f"fenced() saves an instance of a model that is Fenced, and not {type(instance).__name__}: give the model"
            " the base class Fenced. Several rows are written by `Model.objects.filter(...).fenced_update(...)`"
        )
    try:
        bearing = _bearing(instance, lease)
    except BaseException:
        using = saving.get("using") or router.db_for_write(type(instance), instance=instance)
        with transaction.mark_for_rollback_on_error(using=using):
            raise
    before = instance._bearing
    instance._bearing = bearing
    try:
        instance.save(**saving)
    finally:
        instance._bearing = before


def _bearing(instance: Fenced, lease: Lease | Lock | None) -> Lease:
    model = type(instance)
    return bearer(lease, key_of(model, values_of(instance)) if model.__fence_key__ else None)


@functools.cache
def _fence_of(model: type[models.Model]) -> Any:
    """The column, if it is in this table."""
    return next((each for each in model._meta.local_concrete_fields if each.name == "fence"), None)


class Fenced(models.Model):  # type: ignore[misc]
    """A model with the column `fence`, which guarded writes raise and `save()` leaves alone."""

    #: The lock key that guards a row, made of its own columns: "wallet:{user_id}". A lease of another is refused.
    __fence_key__: ClassVar[str | None] = None

    # Empty before the first guarded write: a column that old code, still running at a deployment, need not know.
    fence = models.BigIntegerField(null=True, editable=False)

    objects = FencedQuerySet.as_manager()

    _bearing: Lease | None = None

    class Meta:  # noqa: D106 - Django's
        abstract = True

    def __getstate__(self) -> dict[str, Any]:
        # A signal's receiver may pickle it while it is saved.
        state: dict[str, Any] = super().__getstate__()
        state.pop("_bearing", None)
        return state

    @classmethod
    def check(cls, **options: Any) -> list[checks.CheckMessage]:
        """Django's checks of a model, and one of `__fence_key__`."""
        found: list[checks.CheckMessage] = super().check(**options)
        try:
            columns(cls)
        except LockConfigError as error:
            found.append(checks.Error(str(error), obj=cls, id="celery_locks.E001"))
        return found

    def _do_update(  # noqa: PLR0913, PLR0917 - Django's
        self,
        base_qs: Any,
        using: str,
        pk_val: Any,
        values: Iterable[tuple[Any, Any, Any]],
        update_fields: Any,
        forced_update: Any,
        *returning: Any,
    ) -> Any:
        # What was read may be old by now, so a plain save must not write the fence back.
        values = [each for each in values if each[0].name != "fence"]
        column, lease = _fence_of(base_qs.model), self._bearing
        if lease is None or column is None:
            return super()._do_update(base_qs, using, pk_val, values, update_fields, forced_update, *returning)
        values.append((column, None, lease.fence))
        # Forced: with `select_on_save` an old snapshot would be asked, and may say that all is well.
        own = kept(self, base_qs.model)
        rows = admit(base_qs.filter(**own) if own else base_qs, lease)
        done = super()._do_update(rows, using, pk_val, values, update_fields, True, *returning)  # noqa: FBT003
        if done:
            self.fence = lease.fence
        else:
            self._ensure_missing(lease, base_qs.model._base_manager.using(using).filter(pk=pk_val), pk_val)
        return done

    def _do_insert(self, *inserting: Any) -> Any:
        if self._bearing is not None:
            self.fence = self._bearing.fence
        return super()._do_insert(*inserting)

    def _ensure_missing(self, lease: Lease, rows: Any, pk: Any) -> None:
        mine = type(self)._base_manager.using(rows.db).filter(pk=pk)
        ensure_own(lease, type(self), latest(mine).values(*columns(type(self))))
        for fence in latest(rows).values_list("fence", flat=True):
            raise refusal(lease, type(self), pk, fence, rows.db)
        if not self._state.adding:
            raise self.DoesNotExist(f"{self._meta.label} {pk!r} is gone: there is no row to write to")
