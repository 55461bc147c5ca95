"""Lanes in flight and whose turn it is."""

from __future__ import annotations

from collections.abc import Hashable

from engine.lanes import Lane


class LaneQueue:
    """Groups lanes that may share a forward and takes the groups in turn.

    Every group of n waits for at most n - 1 forwards of others, and within a group the oldest
    lanes go first, so that no lane starves and what began first ends first.

    Args:
        max_lanes: of one forward.
        max_latent_area: latent cells of one forward; a larger lane goes alone.
        mix_adapters: let lanes of different LoRAs share a forward. Their factors are padded to
            one rank, so that a lane may round differently than with others of its kind alone.
    """

    def __init__(self, *, max_lanes: int, max_latent_area: int, mix_adapters: bool = True) -> None:
        self._max_lanes = max_lanes
        self._max_latent_area = max_latent_area
        self._mix_adapters = mix_adapters
        self._lanes: list[Lane] = []  # in order of arrival
        self._last_turn: dict[Hashable, int] = {}
        self._limits: dict[Hashable, int] = {}
        self._turn = 0

    def add(self, lane: Lane) -> None:
        """Puts a lane at the end."""
        self._lanes.append(lane)

    def replace(self, lane: Lane, successor: Lane) -> None:
        """Gives the place of a lane to its next pass."""
        self._lanes[self._lanes.index(lane)] = successor

    def remove(self, lane: Lane) -> None:
        """Takes a lane out."""
        self._lanes.remove(lane)

    def remove_job(self, job_id: str) -> None:
        """Takes all lanes of a job out."""
        self._lanes = [lane for lane in self._lanes if lane.job_id != job_id]

    def next_group(self) -> list[Lane]:
        """The lanes of the next forward: of the group that waited longest, the oldest."""
        groups: dict[Hashable, list[Lane]] = {}
        for lane in self._lanes:
            groups.setdefault(self._key(lane), []).append(lane)
        # What was learnt of a group lives as long as the group.
        self._last_turn = {key: self._last_turn.get(key, 0) for key in groups}
        self._limits = {key: limit for key, limit in self._limits.items() if key in groups}
        if not groups:
            return []
        key = min(groups, key=self._last_turn.__getitem__)
        self._turn += 1
        self._last_turn[key] = self._turn
        lanes = groups[key]
        return lanes[: self._limits.get(key, self.lanes_per_forward(lanes[0]))]

    def lanes_per_forward(self, lane: Lane) -> int:
        """How many lanes of this size share a forward when memory allows."""
        return max(1, min(self._max_lanes, self._max_latent_area // lane.latent_area))

    def halve(self, group: list[Lane]) -> None:
        """Lets fewer lanes of this group share a forward from now on: it ran out of memory."""
        self._limits[self._key(group[0])] = max(1, len(group) // 2)

    def _key(self, lane: Lane) -> Hashable:
        if self._mix_adapters:
            return lane.group_key
        return lane.group_key, lane.conditioning.adapters
