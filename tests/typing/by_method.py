"""A user's module: callable options as static methods, the way Python keeps a function in a class from being bound."""

from __future__ import annotations

from celery_locks import Contention, LockedTask, Requeue, Skip


def by_line(contention: Contention) -> Requeue | Skip:
    return Requeue(5) if contention.place else Skip()


class ByStaticMethod(LockedTask):
    @staticmethod
    def lock_on_contention(contention: Contention) -> Requeue:
        return Requeue(contention.remaining)


class ByWrappedFunction(LockedTask):
    lock_on_contention = staticmethod(by_line)


class ByLambda(LockedTask):
    lock_on_contention = staticmethod(lambda contention: Skip(reason=contention.key))
