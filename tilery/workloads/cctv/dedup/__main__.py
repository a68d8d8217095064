"""`python -m tilery.workloads.cctv.dedup TENANT`: free what no stored stretch needs, in the store that TILERY_STORE names."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from tilery.store import open_store
from tilery.workloads.cctv.dedup.collect import GRACE_S, collect
from tilery.workloads.cctv.dedup.kept import forget
from tilery.workloads.cctv.dedup.packs import Packs, prefix


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tilery.workloads.cctv.dedup", description=__doc__)
    parser.add_argument("tenant")
    days = GRACE_S / 86_400
    parser.add_argument("--grace-days", type=float, default=days, help="how long a pack that nothing needs stays (7)")
    parser.add_argument("--forget", action="append", default=[], metavar="NAME", help="a stretch that is kept no longer")
    given = parser.parse_args(arguments)
    packs = Packs(open_store(given.tenant), prefix(given.tenant))
    for name in given.forget:
        forget(packs, name)
    print(json.dumps(asdict(collect(packs, given.grace_days * 86_400))))


if __name__ == "__main__":
    main()
