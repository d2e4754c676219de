"""The picture of the view: a table of the locks, or all of one key, between a head and what the keys do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from celery_locks.cli.effects import had_by
from celery_locks.cli.printing import plain, span
from celery_locks.cli.top.keypage import page
from celery_locks.cli.top.state import Mode, Top
from celery_locks.cli.top.table import HEADINGS, cells, short

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: What a cell of each column may take: the key and the holder share what is left.
_KEY_RATIO, _HOLDER_RATIO = 2, 3
_KEYS = {
    Mode.LIST: (
        ("↑↓", "choose"), ("n a t w c", "sort by key, age, ttl, waiting, conflicts"), ("/", "filter"),
        ("enter", "one key"), ("b", "break"), ("q", "quit"),
    ),
    Mode.ONE_KEY: (("esc", "back"), ("b", "break"), ("q", "quit")),
    Mode.FILTER: (("enter", "show these keys"), ("esc", "leave as it is")),
    Mode.ASKS: (("y", "release it"), ("any other", "leave it")),
}  # fmt: skip


class Picture:
    """The view as it is at this moment, as high as there is room for.

    `place`: where the store is, without a password.
    """

    def __init__(self, top: Top, place: str, now: float) -> None:
        self._top = top
        self._place = place
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw head and foot, and the middle in what they leave."""
        head, foot = Group(*self._head()), Group(*self._foot())
        taken = sum(len(console.render_lines(part, options.update(height=None))) for part in (head, foot))
        room = max(1, (options.height or console.height) - taken)
        yield head
        yield from self._middle(console, options.update(height=None), room)
        yield foot

    def _head(self) -> list[Text]:
        top = self._top
        first = Text.assemble(("celery_locks top", "bold"), "  ", self._place, "  ", self._summed())
        return [first, Text(self._trouble(), "bold red") if top.trouble else Text("")]

    def _summed(self) -> str:
        frame = self._top.frame
        if frame is None or frame.view is not None:
            return ""
        keys = {line.key: line.waiting or 0 for line in frame.lines}
        only = "" if frame.subject.pattern == "*" else f", of {plain(frame.subject.pattern)}"
        more = ", the first of more" if frame.is_cut else ""
        return f"{len(keys)} key{'' if len(keys) == 1 else 's'} held{more}, {sum(keys.values())} waiting{only}"

    def _trouble(self) -> str:
        trouble = self._top.trouble
        if trouble is None:
            return ""
        return f"No answer for {span(self._now - trouble.at)}, it is asked again: {plain(trouble.text)}"

    def _middle(self, console: Console, options: ConsoleOptions, room: int) -> list[Table | Text]:
        """The table, or the page of a key, exactly as many lines as there is room for."""
        frame = self._top.frame
        if frame is None:
            shown: list[Table | Text] = [Text("asking ...", "dim")]
        elif frame.view is not None:
            lines = page(frame.view, self._now)[:room]
            shown = [*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines)]
        else:
            shown = [self._table(room - 1)]
        height = sum(len(console.render_lines(each, options)) for each in shown)
        return [*shown, *(Text("") for _ in range(room - height))]

    def _table(self, room: int) -> Table:
        top = self._top
        table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
        for heading in HEADINGS:
            is_text = heading in ("KEY", "HOLDER")
            ratio = {"KEY": _KEY_RATIO, "HOLDER": _HOLDER_RATIO}.get(heading)
            name = Text(heading, "underline" if heading.lower() == top.order.name else "")
            table.add_column(
                name, justify="left" if is_text else "right", ratio=ratio, no_wrap=True, overflow="ellipsis"
            )
        lines, place = top.lines, top.place
        begin = max(0, min(place - room // 2, len(lines) - room))
        for at, line in enumerate(lines[begin : begin + max(0, room)], begin):
            style = "reverse" if at == place else None
            shown = (*cells(line, self._now)[:-1], short(line.seen.owner))
            table.add_row(*(Text(plain(cell)) for cell in shown), style=style)
        return table

    def _foot(self) -> list[Text]:
        top = self._top
        keys = Text("  ").join(Text.assemble((key, "bold"), " ", (what, "dim")) for key, what in _KEYS[top.mode])
        return [*self._speech(), keys]

    def _speech(self) -> list[Text]:
        top = self._top
        if top.target:
            return [Text(f"Release {had_by(top.target.key, [top.target.seen])}?", "bold yellow")]
        if top.mode is Mode.FILTER:
            return [Text(f"Keys that match: {plain(top.typed)}_", "bold")]
        return [Text(plain(top.said), "yellow")] if top.said else []
