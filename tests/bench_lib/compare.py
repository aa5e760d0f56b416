"""What comparing a backup with the live members costs those who write to etcd meanwhile."""

import json
import shutil
import statistics
import subprocess
import time

from .etcd import Etcd, database
from .live import Bench
from .measure import MIB, Failed, build, environment, load, measure, say, tool

# Far below what etcd can take, so that what is measured is waiting and not overload.
PUTS_PER_SECOND = 200
QUIET_SECONDS = 10


class Writers:
    """Puts at a steady pace while the `with` lasts; afterwards `seen` has their latencies in milliseconds."""

    def __init__(self, program, endpoint):
        self.command = [program, endpoint, str(PUTS_PER_SECOND)]
        self.seen = None

    def __enter__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment())
        time.sleep(1)
        return self

    def __exit__(self, kind, *_):
        out, err = self.process.communicate()
        if kind is None and self.process.returncode != 0:
            raise Failed(f"{self.command[0]}: {err.decode(errors='replace')}")
        self.seen = json.loads(out) if out else None


def run(options, lifeboat, work):
    program = build("lifeboat-tests", "latency")
    shutil.copytree(database(), work / "etcd")
    db = (work / "etcd/member/snap/db").stat().st_size
    print(f"What comparing costs writers: {PUTS_PER_SECOND} puts/s to one member of {db / MIB:.0f} MiB; load {load()}\n")
    with Etcd(work / "etcd", work / "etcd.log", sync=True) as etcd:
        bench = Bench(work, lifeboat, etcd)
        hash_kv = [tool("etcdctl"), f"--endpoints={etcd.endpoint}", "--command-timeout=60s", "endpoint", "hashkv"]
        ways = {
            "nothing else": lambda: time.sleep(QUIET_SECONDS),
            "etcdctl endpoint hashkv": lambda: measure(hash_kv, log=bench.log),
            "etcdctl snapshot save": bench.save,
            "lifeboat backup, compare: off": lambda: bench.backup("off"),
            "lifeboat backup, compare: all": lambda: bench.backup("all"),
        }
        seen = {name: [] for name in ways}
        for turn in range(options.runs):
            for name in ways if turn % 2 == 0 else reversed(ways):
                bench.before_backup()
                begin = time.monotonic()
                with Writers(program, etcd.endpoint) as writers:
                    ways[name]()
                seen[name].append({**writers.seen, "wall": time.monotonic() - begin - 1})
                say(f"run {turn + 1} of {options.runs}, {name}: p99 {writers.seen['p99']:.1f} ms")
    report(seen)


def report(seen):
    print(f"{'meanwhile':32} {'wall s':>8} {'puts':>7} {'p50 ms':>8} {'p99 ms':>8} {'longest ms':>11}  p99 to quiet")
    middle = lambda runs, field: statistics.median(run[field] for run in runs)
    quiet = middle(seen["nothing else"], "p99")
    for name, runs in seen.items():
        wall, puts, p50, p99, longest = (middle(runs, field) for field in ("wall", "puts", "p50", "p99", "longest"))
        print(f"{name:32} {wall:8.2f} {puts:7.0f} {p50:8.2f} {p99:8.2f} {longest:11.2f}  {p99 / quiet:.1f}x")
    print()
