"""The line of a key that several may hold."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from celery_locks.lease import Busy
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance, Ticket, undated
from tests.stores.contract.asking import run_out
from tests.stores.contract.crowding import alone, enter, in_line, owners, part, reader, turned_away
from tests.stores.contract.waiting import LineFixtures, called, hearing, look, passed, quiet, wakes_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.lease import Claim, Lease


def stand(store: Any, *claims: Claim) -> list[Claim]:
    """These stand in line now; each with the ticket that brings it back to its place."""
    busy = [turned_away(store, in_line(claim)) for claim in claims]
    assert all(each.ticket and each.present for each in busy)
    return [claim._replace(ticket=Ticket(each.ticket or "")) for claim, each in zip(claims, busy, strict=True)]


def name_of(ticket: str) -> str:
    name = undated(ticket)
    return name.partition(".")[2] or name


class CrowdLinesContract(LineFixtures):
    """For stores with lines whose keys several may hold: a place that is free goes to the first that it fits."""

    def test_all_places_that_are_free_are_given_at_once(self, queue: Any, store: Any, key: str) -> None:
        """Three of five who wait are called by the release of one who had the key alone, and no more."""
        enter(queue, alone(key, "holder"))
        waiting = stand(store, *(part(key, name) for name in "abcde"))
        with hearing(queue, key) as wake:
            assert queue.release(alone(key, "holder"))
            assert [name_of(wake().ticket) for _ in range(3)] == ["a", "b", "c"]
        turned_away(store, part(key, "plain"))
        assert owners(queue, key) == []
        assert queue.inspect(key) is None
        for claim in waiting[:3]:
            enter(store, claim)
        assert not called(queue, key, waiting[3].ticket.name)
        assert queue.release(waiting[1])
        assert called(queue, key, waiting[3].ticket.name)
        enter(store, waiting[3])
        turned_away(store, waiting[4])

    def test_readers_go_together_up_to_the_next_writer(self, queue: Any, store: Any, key: str) -> None:
        """Those who came before it all read at once; then it has the key alone; then those behind it."""
        enter(queue, alone(key, "holder"))
        a, b, writer, c, d = stand(
            store, reader(key, "a"), reader(key, "b"), alone(key, "writer"), reader(key, "c"), reader(key, "d")
        )
        with hearing(queue, key) as wake:
            assert queue.release(alone(key, "holder"))
            assert [name_of(wake().ticket) for _ in range(2)] == ["a", "b"]
            enter(store, a)
            enter(store, b)
            assert queue.release(a)
            turned_away(store, writer)
            assert queue.release(b)
            assert name_of(wake().ticket) == "writer"
            enter(store, writer)
            assert queue.release(writer)
            assert [name_of(wake().ticket) for _ in range(2)] == ["c", "d"]
        enter(store, c)
        enter(store, d)

    def test_a_fresh_reader_goes_behind_a_writer_that_waits(self, queue: Any, store: Any, key: str) -> None:
        """Though others read: it joins the line, or, without a ticket, is turned away."""
        enter(queue, reader(key, "a"))
        (writer,) = stand(store, alone(key, "writer"))
        turned_away(store, reader(key, "plain"))
        (late,) = stand(store, reader(key, "late"))
        assert queue.release(reader(key, "a"))
        enter(store, writer)
        turned_away(store, late)
        assert queue.release(writer)
        enter(store, late)

    def test_one_alone_waits_for_all_slots_and_no_more(self, queue: Any, store: Any, key: str) -> None:
        """Those who came after it do not take the places that become free meanwhile."""
        for name in "ab":
            enter(queue, part(key, name))
        (single,) = stand(store, alone(key, "single"))
        (late,) = stand(store, part(key, "late"))
        assert queue.release(part(key, "a"))
        turned_away(store, single)
        turned_away(store, late)
        assert queue.release(part(key, "b"))
        enter(store, single)

    def test_who_stood_in_the_way_and_leaves_lets_the_others_in(self, queue: Any, store: Any, key: str) -> None:
        """A writer that waits no longer: all readers behind it are called, and read with those who do."""
        enter(queue, reader(key, "a"))
        (writer,) = stand(store, alone(key, "writer"))
        behind = stand(store, *(reader(key, name) for name in "bcd"))
        with hearing(queue, key) as wake:
            queue.leave([Waiting(key, writer.ticket.name)])
            assert [name_of(wake().ticket) for _ in range(3)] == ["b", "c", "d"]
        for claim in behind:
            enter(store, claim)
        assert len(owners(queue, key)) == 4

    def test_more_than_one_step_can_call_all_come(self, queue: Any, key: str) -> None:
        """Each that comes calls some more: a hundred who read are in without anybody having looked."""
        enter(queue, alone(key, "holder"))
        waiting = {claim.owner: claim for claim in stand(queue, *(reader(key, f"{n:03}") for n in range(100)))}
        with hearing(queue, key) as wake:
            assert queue.release(alone(key, "holder"))
            for number in range(100):
                owner = name_of(wake().ticket)
                assert owner == f"{number:03}"
                enter(queue, waiting[owner])
        assert len(owners(queue, key)) == 100

    def test_more_slots_are_filled_at_once(self, queue: Any, store: Any, key: str) -> None:
        """By those who wait, though nobody leaves; with fewer again, who is called in vain has its place in line."""
        enter(queue, part(key, "holder", 2))
        enter(queue, part(key, "other", 2))
        a, b, c = stand(store, *(part(key, name, 2) for name in "abc"))
        with hearing(queue, key) as wake:
            queue.set_slots(key, 4)
            assert [name_of(wake().ticket) for _ in range(2)] == ["a", "b"]
        queue.set_slots(key, 3)
        # The place that is kept for the other of the two is a place.
        assert turned_away(store, a).place == 1
        enter(store, b)
        assert turned_away(store, c).place == 2
        assert queue.release(part(key, "other", 2))
        assert called(queue, key, a.ticket.name)
        enter(store, a)
        queue.set_slots(key, None)

    def test_whoever_does_not_come_is_passed_over(self, hasty: Any, key: str) -> None:
        """A place is kept for a moment; then the next are called when somebody looks, and the one finds its place."""
        enter(hasty, alone(key, "holder"))
        a, b, c, d = stand(hasty, *(part(key, name, 2) for name in "abcd"))
        with hearing(hasty, key) as wake:
            assert hasty.release(alone(key, "holder"))
            assert [name_of(wake().ticket) for _ in range(2)] == ["a", "b"]
            enter(hasty, b)
            passed(self.brief)
            look(hasty, key)
            assert name_of(wake().ticket) == "c"
            passed(self.brief)
        enter(hasty, a)
        assert [turned_away(hasty, claim).place for claim in (d, c)] == [1, 1]

    def test_those_called_in_vain_cost_less_and_less(self, hasty: Any, key: str) -> None:
        """From the second in a row that does not come on: a worker that died with many holds up nobody for long."""
        enter(hasty, alone(key, "holder"))
        stand(hasty, *(part(key, name, 2) for name in "abcd"))
        with hearing(hasty, key) as wake:
            assert hasty.release(alone(key, "holder"))
            windows = [wake().window for _ in range(2)]
            passed(self.brief)
            look(hasty, key)
            windows += [wake().window for _ in range(2)]
        assert windows == [self.brief, self.brief, self.brief / 2, self.brief / 2]

    def test_several_that_died_are_replaced_by_one_look(self, queue: Any, store: Any, key: str) -> None:
        """When their leases are over, as many are called as there are places."""
        leases = [enter(queue, part(key, name, ttl=1.0)) for name in "abc"]
        stand(store, *(part(key, name) for name in "defg"))
        assert 0 < look(queue, key).again <= 1.001
        run_out(leases[-1])
        with hearing(queue, key) as wake:
            look(queue, key)
            assert [name_of(wake().ticket) for _ in range(3)] == ["d", "e", "f"]

    def test_a_place_that_is_kept_is_handed_on(self, queue: Any, store: Any, key: str) -> None:
        """One that was called and leaves gives it to the next, and so does one whose claim was given up."""
        enter(queue, part(key, "holder", 2))
        enter(queue, part(key, "other", 2))
        a, b, c = stand(store, *(part(key, name, 2) for name in "abc"))
        with hearing(queue, key) as wake:
            assert queue.release(part(key, "holder", 2))
            assert name_of(wake().ticket) == "a"
            queue.leave([Waiting(key, a.ticket.name), Waiting(key, a.ticket.name)])
            assert name_of(wake().ticket) == "b"
            assert not queue.release(b)
            assert name_of(wake().ticket) == "c"
        enter(store, c)
        turned_away(store, part(key, "more", 2))

    def test_who_is_attended_to_where_there_is_room_is_called(self, queue: Any, store: Any, key: str) -> None:
        """A job at its worker's door: it is called at once while others hold the key with it, and else it waits."""
        enter(queue, part(key, "a"))
        with contextlib.closing(queue.listen()) as listening:
            looks = queue.attend([Waiting(key, f"3.{name}") for name in "bcd"])
            assert [each.turn for each in looks] == [True, True, False]
            assert looks[2].busy.holder == "a"
            assert looks[2].again > 0
            told = wakes_of(listening, key)
            assert [name_of(next(told).ticket) for _ in range(2)] == ["b", "c"]
            queue.attend([Waiting(key, looks[0].busy.ticket), Waiting(key, looks[2].busy.ticket), Waiting(key, "")])
            assert quiet(listening, queue, key)
        # Who is called stands in line no more, however often it says that it is here.
        assert turned_away(store, part(key, "d")._replace(ticket=Ticket(looks[2].busy.ticket))).place == 1
        for index, name in enumerate("bc"):
            enter(store, part(key, name)._replace(ticket=Ticket(looks[index].busy.ticket)))
        turned_away(store, part(key, "d")._replace(ticket=Ticket(looks[2].busy.ticket)))

    def test_one_that_left_for_its_queue_is_waited_for(self, queue: Any, store: Any, key: str) -> None:
        """For a moment, by one who comes later; then there is room for whoever asks."""
        enter(queue, alone(key, "holder"))
        gone = turned_away(store, in_line(part(key, "gone", 2), stance=Stance.GOES))
        assert not gone.present
        assert queue.release(alone(key, "holder"))

        def gets_in(name: str) -> Lease | None:
            answer = queue.acquire(part(key, name, 2))
            return None if isinstance(answer, Busy) else answer

        for name in "ab":
            wait_until(lambda: gets_in(name), "room")  # noqa: B023 - called within the loop
        turned_away(store, part(key, "gone", 2)._replace(ticket=Ticket(gone.ticket or "")))

    def test_one_of_several_does_not_overtake_one_alone(self, queue: Any, store: Any, key: str) -> None:
        """A key that is free, for nobody has looked, is kept for the first in line, which wants it alone."""
        lease = enter(queue, alone(key, "holder", ttl=1.0))
        (single,) = stand(store, alone(key, "single"))
        run_out(lease)
        with hearing(queue, key) as wake:
            assert turned_away(store, in_line(part(key, "late"))).holder is None
            assert name_of(wake().ticket) == "single"
        turned_away(store, reader(key, "plain"))
        enter(store, single)
