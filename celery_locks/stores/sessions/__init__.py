"""What stores share whose locks live in a session with a database: one connection of a process holds them all."""

from celery_locks.stores.sessions.session import Broken, Held, Refused, Session, Taken, Times, Trouble, Unheard
from celery_locks.stores.sessions.settings import asked, naming
from celery_locks.stores.sessions.store import Server, SessionStore

__all__ = [
    "Broken",
    "Held",
    "Refused",
    "Server",
    "Session",
    "SessionStore",
    "Taken",
    "Times",
    "Trouble",
    "Unheard",
    "asked",
    "naming",
]
