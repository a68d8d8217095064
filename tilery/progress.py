"""How far a worker is: a line in its log now and then, and for a run in one worker an object that `tilery` reads and shows."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tilery import keys
from tilery.run import Run
from tilery.store.port import NotFound, Store

log = logging.getLogger("tilery.worker")

LOG_EVERY_S = 30.0
SHOW_EVERY_S = 2.0
Show = Callable[[str, float], None]
"""Takes the stage and the share of it that is done, 0 to 1."""


@dataclass
class Progress:
    """Of one job: `items` one after another, each telling its own share."""

    stage: str
    items: int
    show: Show | None = None
    clock: Callable[[], float] = time.monotonic
    _logged: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._logged = self.clock()

    def of_item(self, number: int, name: str) -> Callable[[float], None]:
        """What the verb calls while it does the item with this number, counted from 0."""

        def told(share: float) -> None:
            now = self.clock()
            if now - self._logged >= LOG_EVERY_S:
                self._logged = now
                log.info("%s %s %.0f %% (%d/%d)", self.stage, name, 100 * share, number + 1, self.items)
            if self.show:
                self.show(self.stage, (number + min(max(share, 0.0), 1.0)) / self.items)

        if self.show:
            self.show(self.stage, number / self.items)
        return told


def shown(store: Store, run: Run, clock: Callable[[], float] = time.monotonic) -> Show:
    """Writes how far a run is, at most every two seconds. It is only for people: what cannot be written is left out."""
    last: tuple[str, float] = ("", 0.0)

    def show(stage: str, share: float) -> None:
        nonlocal last
        now = clock()
        if stage == last[0] and now - last[1] < SHOW_EVERY_S:
            return
        last = (stage, now)
        with suppress(Exception):
            store.put(_key(run.tenant, run.run_id), json.dumps({"stage": stage, "share": round(share, 4)}).encode())

    return show


def read(store: Store, tenant: str, run_id: str) -> tuple[str, float]:
    """The stage that one worker is at, and the share of it that is done; ("", 0) where nothing was told."""
    try:
        told: dict[str, Any] = json.loads(store.get(_key(tenant, run_id)))
    except NotFound:
        return "", 0.0
    return str(told["stage"]), float(told["share"])


def _key(tenant: str, run_id: str) -> str:
    return keys.run(tenant, run_id, "progress.json")
