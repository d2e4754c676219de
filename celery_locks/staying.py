"""A key that is to stay taken for a while: what is asked of the store, and what its holder believes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.lease import Claim, Lease


def asked(claim: Claim) -> Claim:
    """For so long the store keeps the key, should we die: its answer may take a ttl, and only then work begins."""
    return claim._replace(ttl=claim.at_least + claim.ttl)


def begin(lease: Lease, claim: Claim, beat: float | None) -> None:
    """Believe in it for its ttl alone, as always, where that is renewed: so a loss is known as soon."""
    if lease.deadline is not None:
        lease.ttl = claim.ttl if beat else max(claim.ttl, claim.at_least)
        lease.shorten(lease.deadline - lease.claim.ttl + lease.ttl)
        lease.claim = claim
