"""Lanes in flight and whose turn it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from engine.lanes import Lane, Piece


class LaneQueue:
    """Picks what shares the next forward; no lane waits for another to finish.

    Lanes that may share a forward are a group. Groups take turns: of n groups each has every n-th
    forward. A new group comes before the one that was served last and after all others, so that
    none waits for more than the groups that are there at the forward after its own. Within a group
    tiles are dealt out in turn: those lanes go first that waited longest, one tile each, then one
    more tile each while there is room. So a lane that joins a group of m others, in forwards of up
    to k tiles, has its first tile done within ceil((m + 1) / k) forwards of the group, whatever the
    others do, and its whole step of t tiles within ceil((m + 1) * t / k) while no one else joins.

    Args:
        max_lanes: tiles of one forward.
        max_latent_area: latent cells of one forward; a larger tile goes alone.
        mix_adapters: let lanes of different LoRAs, or with and without DeepFusion, share a
            forward. LoRAs are padded to one rank and references take rows of their own, so that a
            lane may round differently than with others of its kind alone.
    """

    def __init__(self, *, max_lanes: int, max_latent_area: int, mix_adapters: bool = True) -> None:
        self._max_lanes = max_lanes
        self._max_latent_area = max_latent_area
        self._mix_adapters = mix_adapters
        self._lanes: list[Lane] = []  # the one whose last turn is longest ago first
        self._last_turn: dict[Hashable, float] = {}
        self._limits: dict[Hashable, int] = {}
        self._turn = 0
        # While one forward has room for all, it stays the same until a lane comes or goes.
        self._all_at_once: list[Piece] | None = None

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, lane: Lane) -> None:
        """Puts a lane at the end."""
        self._lanes.append(lane)
        self._all_at_once = None

    def replace(self, lane: Lane, successor: Lane) -> None:
        """Gives the place of a lane to its next pass."""
        self._lanes[self._lanes.index(lane)] = successor
        self._all_at_once = None

    def remove(self, lane: Lane) -> None:
        """Takes a lane out, and with the last that has LoRAs their hooks off its checkpoint."""
        self._lanes.remove(lane)
        self._all_at_once = None
        self._rest_adapters(lane)

    def remove_job(self, job_id: str) -> None:
        """Takes all lanes of a job out as `remove` does."""
        for lane in [each for each in self._lanes if each.job_id == job_id]:
            self.remove(lane)

    def next_pieces(self) -> list[Piece]:
        """What the next forward does, of the group that waited longest."""
        if self._all_at_once is not None:
            return self._all_at_once
        groups: dict[Hashable, list[Lane]] = {}
        for lane in self._lanes:
            groups.setdefault(self._key(lane), []).append(lane)
        # What was learnt of a group lives as long as the group.
        before_the_last = self._turn - 0.5
        self._last_turn = {key: self._last_turn.get(key, before_the_last) for key in groups}
        self._limits = {key: limit for key, limit in self._limits.items() if key in groups}
        if not groups:
            return []
        key = min(groups, key=self._last_turn.__getitem__)
        self._turn += 1
        self._last_turn[key] = self._turn
        pieces = _one_tile_each_in_turn(groups[key], self._limit(key, groups[key][0]))
        self._to_the_end(pieces)
        if len(groups) == 1 and all(len(lane.tiles) == 1 for lane in self._lanes):
            self._all_at_once = pieces if len(pieces) == len(self._lanes) else None
        return pieces

    def lanes_per_forward(self, lane: Lane) -> int:
        """How many tiles of this size share a forward when memory allows."""
        return max(1, min(self._max_lanes, self._max_latent_area // lane.tile_area))

    def halve(self, pieces: list[Piece]) -> None:
        """Lets fewer pieces of this group share a forward from now on: it ran out of memory."""
        self._limits[self._key(pieces[0].lane)] = max(1, len(pieces) // 2)
        self._all_at_once = None

    def _rest_adapters(self, left: Lane) -> None:
        others = (lane for lane in self._lanes if lane.checkpoint is left.checkpoint)
        if left.conditioning.adapters and not any(lane.conditioning.adapters for lane in others):
            left.checkpoint.adapters.rest()

    def _limit(self, key: Hashable, lane: Lane) -> int:
        return self._limits.get(key, self.lanes_per_forward(lane))

    def _to_the_end(self, pieces: list[Piece]) -> None:
        """Puts who was served behind the others, and who was served last behind all."""
        last_piece = {piece.lane: number for number, piece in enumerate(pieces)}
        waiting = [lane for lane in self._lanes if lane not in last_piece]
        self._lanes = waiting + sorted(last_piece, key=last_piece.__getitem__)

    def _key(self, lane: Lane) -> Hashable:
        if self._mix_adapters:
            return lane.group_key
        return lane.group_key, lane.conditioning.adapters, lane.reference_noise is not None


def _one_tile_each_in_turn(lanes: Iterable[Lane], limit: int) -> list[Piece]:
    waiting = [(lane, iter(lane.open_tiles)) for lane in lanes]
    pieces: list[Piece] = []
    while waiting and len(pieces) < limit:
        still_waiting = []
        for lane, tiles in waiting:
            tile = next(tiles, None)
            if tile is not None and len(pieces) < limit:
                pieces.append(Piece(lane, tile))
                still_waiting.append((lane, tiles))
        waiting = still_waiting
    return pieces
