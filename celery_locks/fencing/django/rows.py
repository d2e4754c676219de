"""The rows of a model that are written to together, or one that is claimed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models, transaction

from celery_locks.fencing.bearer import bearer
from celery_locks.fencing.django.admission import admitted, ensure_atomic, is_plain, latest, looks_elsewhere, refusal
from celery_locks.fencing.django.keys import columns, ensure_own, ensure_unmoved, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock

M = TypeVar("M", bound=models.Model)


class FencedQuerySet(models.QuerySet[M]):  # type: ignore[misc]  # Django comes without types
    """The manager of a `Fenced` model; one of your own is made of a subclass, with `as_manager()`."""

    def claim(self, lease: Lease | Lock | None = None, **lookup: Any) -> M:
        """The one row that matches, read after the fence was put there. It is locked until the transaction ends.

        So a stale holder has nothing to go by, and whatever else it does in the same transaction is never done.
        Raises what `get()` raises, `StaleFence`, and `TransactionManagementError` outside of `atomic()`.
        """
        rows = self.filter(**lookup)
        rows._for_write = True
        with transaction.mark_for_rollback_on_error(using=rows.db):
            bearing = bearer(lease)
        ensure_atomic(rows.db)
        with transaction.atomic(using=rows.db, savepoint=False):
            if rows._put(bearing, {}):
                found: M = latest(rows).get()
                ensure_own(bearing, self.model, [values_of(found)])
                return found
        raise self.model.DoesNotExist(f"{self.model._meta.object_name} matching query does not exist.")

    claim.alters_data = True  # type: ignore[attr-defined]  # no template may call it

    def fenced_update(self, lease: Lease | Lock | None = None, **values: Any) -> int:
        """Update all rows that match, or none if somebody with a higher fence has written one of them.

        Gives the number of rows, as `update()` does. Raises `StaleFence`, which undoes the innermost `atomic()`. With
        no values it puts the fence there and locks the rows: a claim of many.
        """
        self._for_write = True  # as `update()` does
        try:
            bearing = self._bearing(lease)
            if self.model.__fence_key__:
                ensure_unmoved(self.model, values)
        except BaseException:
            with transaction.mark_for_rollback_on_error(using=self.db):
                raise
        return self._put(bearing, values)

    fenced_update.alters_data = True  # type: ignore[attr-defined]

    def _bearing(self, lease: Lease | Lock | None) -> Lease:
        bearing = bearer(lease)
        if self.model.__fence_key__:
            read = self.order_by().values(*columns(self.model) or ["pk"]).distinct()
            ensure_own(bearing, self.model, read)
        return bearing

    def _put(self, lease: Lease, values: dict[str, Any]) -> int:
        if "fence" in values:
            raise TypeError("the column fence is the guard's: it is set to the fence of the lease")
        if not self._is_in_one_table(values) or looks_elsewhere(self.query.where):
            return self._put_first(lease, values)
        if self._is_one_row():
            return self._changed(lease, values) or self._ensure_fresh(lease)
        with transaction.atomic(using=self.db, savepoint=False):
            count = self._changed(lease, values)
            self._ensure_fresh(lease)
            return count

    def _put_first(self, lease: Lease, values: dict[str, Any]) -> int:
        """The fence in a statement of its own. Its row locks guard what follows.

        Of several tables Django makes a subquery, or reads the keys first: Postgres does not look again at a fence in
        there when it had to wait for the row.
        """
        column = self.model._meta.get_field("fence")
        key = column.model._meta.pk.name
        with transaction.atomic(using=self.db, savepoint=False):
            named = {f"{key}__in": list(self.order_by().values_list(key, flat=True))}
            owners = FencedQuerySet(column.model, using=self.db).filter(**named)
            count = owners._changed(lease, {})
            owners._ensure_fresh(lease)
            return int(self.filter(**named).update(**values)) if values else count

    def _changed(self, lease: Lease, values: dict[str, Any]) -> int:
        return admitted(self, lease).update(fence=lease.fence, **values)  # type: ignore[no-any-return]

    def _ensure_fresh(self, lease: Lease) -> int:
        """Raise if a row was left out for its fence; else 0, for there was none."""
        higher = latest(self.filter(fence__gt=lease.fence).order_by()).values_list("pk", "fence")[:1]
        for pk, fence in higher:
            raise refusal(lease, self.model, pk, fence, self.db)
        return 0

    def _is_in_one_table(self, values: Iterable[str]) -> bool:
        query = self.query
        is_one = len(query.alias_map) == 1 or query.count_active_tables() < 2  # noqa: PLR2004
        return is_one and _are_its_own(self.model, tuple(values))

    def _is_one_row(self) -> bool:
        """Whether it is asked for by what is unique: if it was written, there is no other to look at."""
        where = self.query.where
        return where.connector == "AND" and any(map(_is_unique, where.children))


@functools.cache
def _are_its_own(model: type[models.Model], names: tuple[str, ...]) -> bool:
    """Whether these columns and the fence are in the table of the model itself."""
    meta = model._meta
    return {meta.get_field(name).model for name in ("fence", *names)} == {meta.concrete_model}


def _is_unique(condition: Any) -> bool:
    return is_plain(condition) and condition.lhs.target.unique
