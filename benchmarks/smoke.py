"""A scripted run on a real account: `make smoke STACK=tilery-dev-app`.

Uploads a real point cloud to the stack's drop bucket, waits for its run, downloads and checks every product; does it again in
shards on Batch and compares; then uploads a file that is cut off and checks that the run fails with a sentence. Prints a table;
exit code 0 all well, 1 something is not, 2 the stack cannot be used. It costs a few cents. What it uploaded and what came of it
stays in the buckets (tenant `smoke`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape
from rich.table import Table

from cli import aws, products, text
from cli.products import Ended
from cli.sample import sample
from cli.target import StackTarget
from cli.verify import show as show_file
from tilery import keys
from tilery.outcomes import BadInput, Outcome
from tilery.store.directory import DirectoryStore

WORKLOAD = "pointcloud"
KINDS = {"classified", "dtm", "hillshade", "report"}
SHARDED = {"lane": "fargate", "tile_area_km2": 0.2, "shard_mib": 0.2}
"""A few shards and tiles of the sample."""
POLL_S = 5.0
NEVER_STARTED_S = 180.0
"""An event takes seconds; a run that Step Functions does not know by then was not started."""
CRC64_NVME = 0x9A6C9329AC4BC9B5
"""The reflected polynomial of CRC-64/NVME."""


class Wrong(Exception):
    """A check that did not hold; the sentence says what was seen and where to look."""


@dataclass
class Smoke:
    """One smoke test of a stack; `lines` are (step, seconds, what was seen, ok)."""

    target: StackTarget
    tenant: str
    limit_s: float
    lines: list[tuple[str, float, str, bool]] = field(default_factory=list)
    poll_s: float = POLL_S

    @property
    def ok(self) -> bool:
        return all(ok for *_, ok in self.lines)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a step; it tells what it saw. A check that does not hold is a line of the table, and ends its part."""
        begun, seen = time.monotonic(), [""]
        try:
            yield lambda sentence: seen.__setitem__(0, sentence)
        except (Wrong, Outcome) as problem:
            self.lines.append((name, time.monotonic() - begun, str(problem), False))
            raise Wrong(str(problem)) from problem
        self.lines.append((name, time.monotonic() - begun, seen[0], True))

    def good(self, path: Path, name: str, out: Path, options: dict[str, Any] | None = None) -> Path:
        """A good file comes back classified, whole, and different in nothing else; with `options` it is dropped as a dataset.
        Returns the classified file."""
        with self.step("upload a good file" if options is None else "upload it for many workers") as say:
            run_id = self.upload(path, name) if options is None else self.upload_dataset(path, name, options)
            say(f"{path.stat().st_size:,} bytes, run {text.short(run_id)}")
        with self.step("its run ends") as say:
            ended = self.wait(name, run_id)
            say(f"{ended.record['status']} in lane {ended.record['lane']}, {ended.record['timings']['total_s']:.1f} s")
            if ended.record["status"] != "SUCCEEDED":
                why = (ended.failure or {}).get("sentence", "no failure.json says why")
                raise Wrong(f"{ended.record['status']}: {why}; `tilery logs {run_id[:12]} {self.target.flags()}`")
        with self.step("its products are whole") as say:
            products.deliver(self.target.store, self.folder(name, run_id), ended, out)
            say(check_products(ended.record["products"], out))
        with self.step("nothing but classes changed") as say:
            say(check_classified(path, ended.record["products"], out))
        (classified,) = [product for product in ended.record["products"] if product["kind"] == "classified"]
        return out / str(classified["path"])

    def both_lanes(self, path: Path, name: str, folder: Path) -> None:
        """One worker, and shards on Batch through every map and gate, make the same bytes."""
        whole = self.good(path, f"{name}.laz", folder / "whole")
        sharded = self.good(path, f"{name}-sharded", folder / "sharded", SHARDED)
        with self.step("both lanes made the same") as say:
            if whole.read_bytes() != sharded.read_bytes():
                raise Wrong("the classified files of the lanes differ; compare them point by point")
            say("the classified files are equal byte for byte")

    def bad(self, path: Path, name: str) -> None:
        """A file that is cut off becomes a failed run with a sentence."""
        with self.step("upload a file that is cut off") as say:
            run_id = self.upload(path, name)
            say(f"{path.stat().st_size:,} bytes, run {text.short(run_id)}")
        with self.step("its failure is explained") as say:
            ended = self.wait(name, run_id)
            failure = ended.failure or {}
            if ended.record["status"] != "FAILED" or failure.get("error") != "BadInput":
                raise Wrong(f"expected FAILED with BadInput, got {ended.record['status']} with {failure.get('error')}")
            if failure.get("redrive") is not False or name not in failure.get("sentence", ""):
                raise Wrong(f"failure.json does not name the file: {failure.get('sentence')!r}")
            say(failure["sentence"])

    def upload(self, path: Path, name: str) -> str:
        """Drop one file; returns the id of the run that it starts."""
        return self.put(f"drop/{self.tenant}/{WORKLOAD}/{name}", path.read_bytes())

    def upload_dataset(self, path: Path, name: str, options: dict[str, Any]) -> str:
        """Drop one file with options; returns the id of the run that its _READY.json starts."""
        folder = f"drop/{self.tenant}/{WORKLOAD}/{name}"
        self.put(f"{folder}/{path.name}", path.read_bytes())
        return self.put(f"{folder}/{keys.READY}", json.dumps({"options": options}).encode())

    def put(self, key: str, data: bytes) -> str:
        bucket = self.target.output("DropBucket")
        answer = self.target.session.client("s3").put_object(Bucket=bucket, Key=key, Body=data)
        if not answer.get("VersionId"):
            raise Wrong(f"the bucket {bucket} is not versioned; deploy the Data stack again")
        return keys.run_id(bucket, key, answer["VersionId"])

    def folder(self, name: str, run_id: str) -> str:
        return keys.result(self.tenant, WORKLOAD, name, run_id)

    def wait(self, name: str, run_id: str) -> Ended:
        """Until run.json is there; `Wrong` when the time is up or no run was started."""
        begun = time.monotonic()
        while (ended := products.read(self.target.store, self.folder(name, run_id))) is None:
            waited = time.monotonic() - begun
            status = self.status(run_id)
            if not status and waited > min(NEVER_STARTED_S, self.limit_s):
                where = f"see {self.target.output('IngestConsole')} and the queue {self.target.output('DeadLetterQueue')}"
                raise Wrong(f"no run was started within {waited:.0f} s of the upload; {where}")
            if waited > self.limit_s:
                raise Wrong(
                    f"the run is {status} after {waited:.0f} s and there is no run.json; see its execution in the console"
                )
            time.sleep(self.poll_s)
        return ended

    def status(self, run_id: str) -> str:
        """The status of the run's execution; empty while there is none."""
        arn = self.target.machine_arn(WORKLOAD).replace(":stateMachine:", ":execution:") + f":{run_id}"
        try:
            return str(self.target.stepfunctions.describe_execution(executionArn=arn)["status"])
        except ClientError as error:
            if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
                return ""
            raise


def check_products(listed: Sequence[dict[str, Any]], folder: Path) -> str:
    """Every expected kind is there, with the bytes and digest that run.json says."""
    if missing := KINDS - {product["kind"] for product in listed}:
        raise Wrong(f"run.json lists no {', '.join(sorted(missing))}")
    for product in listed:
        data = (folder / product["path"]).read_bytes()
        if len(data) != product["bytes"]:
            raise Wrong(f"{product['path']} has {len(data)} bytes, run.json says {product['bytes']}")
        algorithm, value = product["digest"]["algorithm"], product["digest"]["value"]
        if (found := digest(data, algorithm)) != value:
            raise Wrong(f"the {algorithm} of {product['path']} is {found}, run.json says {value}")
    algorithms = ", ".join(sorted({product["digest"]["algorithm"] for product in listed}))
    return f"{len(listed)} products, bytes and digests ({algorithms}) as in run.json"


def check_classified(before: Path, listed: Sequence[dict[str, Any]], folder: Path) -> str:
    """Point by point: everything but the classification is equal."""
    from tilery.workloads.pointcloud.verify import verify

    (after,) = [folder / product["path"] for product in listed if product["kind"] == "classified"]
    with tempfile.TemporaryDirectory(prefix="tilery-smoke-") as scratch:
        store = DirectoryStore(Path(scratch))
        sides = [show_file(store, Path(scratch), side, path) for side, path in (("input", before), ("product", after))]
        if differences := verify(store, *sides):
            raise Wrong("; ".join(differences))
    return f"{after.name} differs from its input in nothing but the classification"


def digest(data: bytes, algorithm: str) -> str:
    """The digest of a product as run.json writes it: sha256 in hexadecimal, crc64nvme in base64."""
    if algorithm == "sha256":
        return hashlib.sha256(data).hexdigest()
    if algorithm == "crc64nvme":
        return base64.b64encode(crc64nvme(data).to_bytes(8, "big")).decode()
    raise Wrong(f"run.json has a digest {algorithm!r} that nobody here can check")


def crc64nvme(data: bytes) -> int:
    """CRC-64/NVME (NVM Express NVM Command Set Specification, section 5.2.1.3.4), as S3 computes it. Slow: 10 MB/s."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ CRC64_NVME if byte & 1 else byte >> 1
        table.append(byte)
    state = (1 << 64) - 1
    for byte in data:
        state = table[(state ^ byte) & 255] ^ state >> 8
    return state ^ (1 << 64) - 1


def run(smoke: Smoke, path: Path, folder: Path) -> bool:
    """Both parts; True if all is well. The second part goes on even if the first did not hold."""
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    cut_off = folder / "cut-off.laz"
    cut_off.write_bytes(path.read_bytes()[:300])
    with suppress(Wrong):  # it is a line of the table
        smoke.both_lanes(path, f"smoke-{moment}", folder)
    with suppress(Wrong):
        smoke.bad(cut_off, f"cut-off-{moment}.laz")
    return smoke.ok


def show(smoke: Smoke) -> None:
    table = Table(title=f"Smoke test of {smoke.target.place}", title_justify="left")
    for column in ("", "step", "seconds", "seen"):
        table.add_column(column, justify="right" if column == "seconds" else "left")
    for name, seconds, seen, ok in smoke.lines:
        table.add_row("[green]ok[/]" if ok else "[red]WRONG[/]", name, f"{seconds:.1f}", escape(seen))
    text.out().print(table)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make smoke", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--stack", required=True, help="the App stack, for example tilery-dev-app")
    parser.add_argument("--tenant", default="smoke", help="whose prefix to use (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="a LAS or LAZ file of your own (default: 110,000 real points)")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long a run may take (default: %(default)s)")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None, poll_s: float = POLL_S) -> int:
    asked = arguments(sys.argv[1:] if given is None else given)
    try:
        if not keys.TENANT.fullmatch(asked.tenant):
            raise BadInput(f"the tenant {asked.tenant!r} must be 1 to 32 letters a-z or digits")
        target = StackTarget(asked.stack)
        for output in ("DropBucket", "ResultsBucket", "WorkBucket", f"{WORKLOAD.title()}Machine"):
            target.output(output)
        path = asked.file or sample(Path(__file__).resolve().parents[1] / ".cache")
        if not path.is_file():
            raise BadInput(f"there is no file {path}; check --file")
    except Outcome as problem:
        print(f"smoke: {problem}", file=sys.stderr)
        return 2
    except (BotoCoreError, ClientError) as error:
        print(f"smoke: AWS cannot be asked: {aws.sentence(error)}; see `tilery preflight`", file=sys.stderr)
        return 2
    smoke = Smoke(target, asked.tenant, asked.minutes * 60, poll_s=poll_s)
    with tempfile.TemporaryDirectory(prefix="tilery-smoke-") as folder:
        try:
            ok = run(smoke, path, Path(folder))
        finally:
            show(smoke)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
