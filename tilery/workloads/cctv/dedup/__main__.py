"""The frames that CCTV stored once (`dedup=store`), in the store that TILERY_STORE names: look, take out, give up, tidy."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tilery.outcomes import BadInput
from tilery.store import open_store
from tilery.workloads.cctv.dedup.collect import GRACE_S, collect
from tilery.workloads.cctv.dedup.kept import forget
from tilery.workloads.cctv.dedup.packs import Damaged, Packs, prefix, reindex
from tilery.workloads.cctv.dedup.restore import restore, stretches


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tilery.workloads.cctv.dedup", description=__doc__)
    parser.add_argument("tenant")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="names of stretches; a run's dedup.json names its own")
    listing.add_argument("name", nargs="?", default="", help="only names that begin so")
    taking = actions.add_parser("restore", help="write the frames of stretches as files")
    taking.add_argument("name", nargs="+", help="a stretch, or how the names of several begin")
    taking.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to (the current folder)")
    leaving = actions.add_parser("forget", help="keep stretches no longer; collect then frees what nothing else needs")
    leaving.add_argument("name", nargs="+", help="a stretch, by its whole name")
    tidying = actions.add_parser("collect", help="free what no stretch needs")
    tidying.add_argument("--grace-days", type=float, default=GRACE_S / 86_400, help="how long it stays all the same (7)")
    actions.add_parser("reindex", help="write lists of packs again that are lost")
    given = parser.parse_args(arguments)
    try:
        for line in _act(given, Packs(open_store(given.tenant), prefix(given.tenant))):
            print(line)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    except Damaged as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _act(given: argparse.Namespace, packs: Packs) -> list[str]:
    if given.action == "list":
        return stretches(packs, given.name)
    if given.action == "restore":
        found = [(begins, stretches(packs, begins)) for begins in given.name]
        for begins, names in found:
            if not names:
                raise BadInput(f"nothing is stored under {begins!r}; `list` shows what is")
        return [str(path) for _, names in found for name in names for path in restore(packs, name, given.out)]
    if given.action == "forget":
        for name in given.name:
            forget(packs, name)
        return []
    if given.action == "reindex":
        return [f"{reindex(packs)} lists written"]
    return [json.dumps(asdict(collect(packs, given.grace_days * 86_400)))]


if __name__ == "__main__":
    sys.exit(main())
