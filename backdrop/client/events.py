"""Server-sent events, from the bytes of a stream as they come (WHATWG HTML, EventSource)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` is the text of its data lines."""

    name: str
    data: str


class EventReader:
    """Puts the events of one stream together; comments, ids and retry times are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []

    def read(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes.

        Raises:
            UnicodeDecodeError: the stream is no text.
        """
        # Not str.splitlines, as httpx does: it would break a text at U+2028, which JSON may hold.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [event for line in lines if (event := self._take(line.rstrip(b"\r").decode()))]

    def _take(self, line: str) -> Event | None:
        """Takes a line; the event where it ends one."""
        if not line:
            event = Event(self._name, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None
