"""How far the result agrees with the classes that the input came with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GROUND = 2


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two classes, ground and everything else, in input and result. Counts of points."""

    kept: int
    """Ground in both."""
    lost: int
    """Ground in the input only."""
    gained: int
    """Ground in the result only."""
    other: int

    @property
    def total(self) -> int:
        return self.kept + self.lost + self.gained + self.other

    @property
    def type_1(self) -> float:
        """Share of the input's ground that the result lost."""
        return self.lost / max(1, self.kept + self.lost)

    @property
    def type_2(self) -> float:
        """Share of the input's other points that the result made ground."""
        return self.gained / max(1, self.gained + self.other)

    @property
    def error(self) -> float:
        return (self.lost + self.gained) / max(1, self.total)

    @property
    def kappa(self) -> float:
        """Cohen's kappa (Educational and Psychological Measurement 20, 1960); 0 where chance alone agrees fully."""
        total = max(1, self.total)
        was, now = (self.kept + self.lost) / total, (self.kept + self.gained) / total
        chance = was * now + (1 - was) * (1 - now)
        return (1 - self.error - chance) / (1 - chance) if chance < 1 else 0.0


def of_ground(was: Mapping[str, int]) -> Agreement | None:
    """The agreement on ground from the counts of "from>to"; None where the input has no ground or nothing else."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for change, count in was.items():
        before, after = (int(label) == GROUND for label in change.split(">"))
        counts[before, after] += count
    found = Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
    return found if found.kept + found.lost and found.gained + found.other else None


def before(was: Mapping[str, int]) -> dict[int, int]:
    """Points of each class in the input."""
    counts: dict[int, int] = {}
    for change, count in was.items():
        label = int(change.split(">")[0])
        counts[label] = counts.get(label, 0) + count
    return counts
