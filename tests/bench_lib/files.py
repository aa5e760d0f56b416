"""Checking a snapshot file, and restoring from one, beside the stock tools and on several sizes: time should grow as the
file does, memory should not."""

import json
import shutil
import time

from .etcd import GIB, RECIPE, Etcd, database, fill
from .measure import CACHE, MIB, Failed, aim, alternate, build, load, measure, run_once, say, table, tool

# By size: whether an etcd is filled or the file is built at once, as what, and how much.
SIZES = {
    "0.2": ("filled", "objects", GIB // 5),
    "1": ("filled", "objects", GIB),
    # Filling an etcd so far takes longer than all else here together.
    "4": ("built", "objects", 4 * GIB),
    "small": ("built", "small", 10_000_000),
}
MEMORY = 64
INSPECT, STATUS, SUM = "lifeboat inspect", "etcdutl snapshot status", "sha256sum"
RESTORE, STOCK = "lifeboat restore --from", "etcdutl snapshot restore"


def snapshot(size, work):
    """The snapshot file of a size, in the cache."""
    how, kind, amount = SIZES[size]
    made = CACHE / "bench-files" / f"{size}.db"
    stamp = made.with_suffix(".stamp")
    recipe = f"{RECIPE} {how} {kind} {amount}"
    if made.is_file() and stamp.is_file() and stamp.read_text() == recipe:
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    aside = made.with_suffix(".partial")
    for path in (aside, made, stamp):
        path.unlink(missing_ok=True)
    if how == "built":
        say(f"building {made}, once ...")
        begin = time.monotonic()
        told = run_once([build("lifeboat-tests", "make_db"), kind, str(amount), str(aside)])
        say(f"it has {told.strip()} ({time.monotonic() - begin:.0f} s)")
    else:
        save(amount, work, aside)
    aside.rename(made)
    stamp.write_text(recipe)
    return made


def save(amount, work, to):
    """Has a real etcd of that size write the snapshot."""
    data, log = work / "etcd", work / "etcd.log"
    if amount == GIB:
        shutil.copytree(database(), data)
    else:
        fill(data, log, amount)
    with Etcd(data, log) as etcd:
        run_once([tool("etcdctl"), f"--endpoints={etcd.endpoint}", "snapshot", "save", to])
    shutil.rmtree(data)


class Bench:
    """One snapshot file and what is done with it."""

    def __init__(self, work, lifeboat, file):
        self.work, self.lifeboat, self.file = work, lifeboat, file
        self.log, self.data = work / "log", work / "data"

    def prepare(self):
        """Nothing is left of the run before, and nobody is the first to read the file from the disk."""
        for path in (self.data, self.work / "data.partial"):
            shutil.rmtree(path, ignore_errors=True)
        # In small pieces: what this script holds counts as a child's memory too.
        piece = bytearray(256 << 10)
        with open(self.file, "rb", buffering=0) as file:
            while file.readinto(piece):
                pass

    def inspect(self):
        return measure([self.lifeboat, "inspect", self.file, "--json"], log=self.log)

    def status(self):
        return measure([tool("etcdutl"), "snapshot", "status", self.file, "--write-out=json"], log=self.log)

    def sum(self):
        return measure(["sha256sum", self.file], log=self.log)

    def restore(self):
        command = [self.lifeboat, "restore", "--from", self.file, "--data-dir", self.data, "--yes", *self.member()]
        return measure([*command, "--allow", "unverified", "--allow", "unproven"], log=self.log)

    def stock_restore(self):
        command = [tool("etcdutl"), "snapshot", "restore", self.file, f"--data-dir={self.data}", *self.member()]
        return measure([*command, "--initial-advertise-peer-urls=http://127.0.0.1:2380"], log=self.log)

    def member(self):
        return ["--name=bench", "--initial-cluster=bench=http://127.0.0.1:2380"]

    def agree(self):
        """What is measured must be the same work: both tools read the same revision and count the same keys."""
        ours = json.loads(run_once([self.lifeboat, "inspect", self.file, "--json"]))
        theirs = json.loads(run_once([tool("etcdutl"), "snapshot", "status", self.file, "--write-out=json"]))
        told = (ours["sound"], ours["revision"], ours["keys"])
        if told != (True, theirs["revision"], theirs["totalKey"]):
            raise Failed(f"{self.file}: lifeboat inspect says {told}, etcdutl snapshot status says {theirs}")
        return ours


def run(options, lifeboat, sizes, work):
    found = {"check": {}, "restore": {}}
    for size in sizes:
        file = snapshot(size, work)
        bench = Bench(work, lifeboat, file)
        length = file.stat().st_size
        print(f"Snapshot file {size}: {length / MIB:.0f} MiB; load {load()}")
        if options.does("check"):
            report = bench.agree()
            print(f"{report['records']} records, {report['keys']} keys, {report['free_bytes'] / MIB:.0f} MiB of free pages\n")
            ways = {INSPECT: bench.inspect, STATUS: bench.status, SUM: bench.sum}
            middle = table(alternate(ways, options.runs, bench.prepare), INSPECT)
            report_check(middle, length)
            found["check"][size] = (length, middle[INSPECT])
        if options.does("plain-restore"):
            ways = {RESTORE: bench.restore, STOCK: bench.stock_restore}
            middle = table(alternate(ways, options.runs, bench.prepare), RESTORE)
            aim("restore from a file, wall, to etcdutl's", middle[RESTORE].wall / middle[STOCK].wall, 0.5)
            aim("restore from a file, peak memory", middle[RESTORE].largest / MIB, MEMORY, " MiB")
            found["restore"][size] = (length, middle[RESTORE])
            bench.prepare()
        print()
    for what, by_size in found.items():
        if len(by_size) > 1:
            report_growth(what, by_size)


def report_check(middle, length):
    ours = middle[INSPECT]
    print(f"  check, HashKV included: {length / 1e6 / ours.wall:.0f} MB/s")
    aim("check, wall, to etcdutl's status and sha256sum", ours.wall / (middle[STATUS].wall + middle[SUM].wall), 1.0)
    aim("check, peak memory", ours.largest / MIB, MEMORY, " MiB")


def report_growth(what, by_size):
    """Rates and peaks side by side: linear in the file means the same rate, flat means the same peak."""
    print(f"{what} by size, lifeboat's own:")
    for size, (length, cost) in by_size.items():
        print(f"  {size:6} {length / MIB:6.0f} MiB {length / 1e6 / cost.wall:8.0f} MB/s {cost.largest / MIB:6.0f} MiB peak")
    print()
