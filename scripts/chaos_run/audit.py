"""Gathers the evidence after a run: from the clients' journal, the database and the blob store."""

from __future__ import annotations

from collections import Counter
from typing import Any

from api.blobs import open_blobs
from api.settings import Settings
from api.store import open_store
from scripts.chaos_run.journal import Journal
from scripts.chaos_run.orders import NUM_VARIANTS
from scripts.chaos_run.verdict import Accepted, Ending, Evidence
from scripts.chaos_run.witness import digests_of, moves_of, rows_of


def gather(journal: Journal, settings: Settings) -> Evidence:
    """All there is to know; the service must have ended, its servers must be there."""
    entries = list(journal.entries())
    accepted = [
        Accepted(each["uid"], each["owner"], each["variant"]) for each in _of("accepted", entries)
    ]
    endings = {
        each["uid"]: Ending(each["status"], each["code"], each["text"], tuple(each["images"]))
        for each in _of("ended", entries)
    }
    store = open_store(settings)
    try:
        return Evidence(
            accepted=accepted,
            endings=endings,
            leaks=[each["uid"] for each in _of("leak", entries)],
            oddities=Counter(each["what"] for each in _of("odd", entries)),
            rows=rows_of(store),
            moves=moves_of(store),
            blobs=digests_of(open_blobs(settings)),
            calm=_calm(accepted, endings),
        )
    finally:
        store.close()


def _calm(accepted: list[Accepted], endings: dict[str, Ending]) -> dict[int, tuple[str, ...]]:
    """The pictures of the first order of each variant: those were made before the first fault."""
    first: dict[int, tuple[str, ...]] = {}
    for each in accepted[:NUM_VARIANTS]:
        ending = endings.get(each.uid)
        if ending is None or ending.status != "Finished":
            raise RuntimeError(f"the calm run did not finish variant {each.variant}: {ending}")
        first[each.variant] = ending.images
    if len(first) != NUM_VARIANTS or len(set(first.values())) != NUM_VARIANTS:
        raise RuntimeError("the calm run's pictures are not one of each variant")
    return first


def _of(kind: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in entries if each["kind"] == kind]
