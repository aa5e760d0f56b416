"""Proofs of a backup of 1 GiB, beside what a person would do by hand: fetch, open, `etcdutl snapshot restore`, boot, ask."""

import shutil
import subprocess
import time

from .etcd import Etcd, database
from .live import Bench as Live
from .measure import MIB, Cost, aim, alternate, environment, load, measure, table, tool

SOUND, BOOTED = "lifeboat prove --level sound", "lifeboat prove --level booted"
STOCK, BY_HAND = "age -d | zstd -d, etcdutl restore", "the same, etcd, etcdctl hashkv"
MEMBER = ["--name=bench", "--initial-cluster=bench=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380"]


class Bench(Live):
    """The same work dir; the prover has its keys and an etcd to boot."""

    def prover(self):
        config = self.work / "prover.yaml"
        config.write_text(
            f"cluster: bench\nstores: [{{ url: \"file://{self.store}\" }}]\nroles: [prove]\n"
            f"keys:\n  identity_file: {self.identity}\n"
            f"  signing_keys: {{ prove: {self.keys / 'prove.sign.key'} }}\n"
            f"  trusted_keys: {{ backup: [{self.keys / 'backup.sign.pub'}] }}\n"
            f"proof: {{ scratch: {{ dir: {self.work / 'scratch'} }}, etcd: {{ \"3.6\": {tool('etcd')} }} }}\n"
        )
        return config

    def prove(self, level):
        # The processor time and the memory of the etcd that it boots are in its account, since it waits for it.
        return measure([self.lifeboat, "--config", self.prover(), "prove", "latest", "--level", level], log=self.log)

    def restore_by_hand(self):
        return self.stock_restore(*MEMBER)

    def boot_by_hand(self):
        cost = self.restore_by_hand()
        begin = time.monotonic()
        etcd = Etcd(self.work / "data", self.log, sync=True)
        with etcd:
            ask = [tool("etcdctl"), f"--endpoints={etcd.endpoint}", "--command-timeout=60s", "endpoint", "hashkv"]
            subprocess.run(ask, capture_output=True, env=environment(), check=True)
        usage = etcd.usage
        booted = Cost(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_maxrss * 1024)
        return cost.then(booted)


def run(options, lifeboat, work):
    shutil.copytree(database(), work / "etcd")
    db = (work / "etcd/member/snap/db").stat().st_size
    print(f"Proofs: backup of a database of {db / MIB:.0f} MiB, etcd 3.6; load {load()}\n")
    with Etcd(work / "etcd", work / "etcd.log") as etcd:
        bench = Bench(work, lifeboat, etcd)
        bench.before_backup()
        bench.backup()
    shutil.rmtree(work / "etcd")
    sound, booted = lambda: bench.prove("sound"), lambda: bench.prove("booted")
    ways = {SOUND: sound, BOOTED: booted, STOCK: bench.restore_by_hand, BY_HAND: bench.boot_by_hand}
    middle = table(alternate(ways, options.runs, bench.before_restore), BOOTED)
    aim("proof to sound, wall, to opening and etcdutl restore", middle[SOUND].wall / middle[STOCK].wall, 1.0)
    aim("proof to booted, wall, to all of it by hand", middle[BOOTED].wall / middle[BY_HAND].wall, 2.0)
    aim("proof to sound, peak memory", middle[SOUND].largest / MIB, 128, " MiB")
    aim("proof to booted, peak memory, to that of the etcd booted by hand", middle[BOOTED].largest / middle[BY_HAND].largest, 1.2)
    print()
