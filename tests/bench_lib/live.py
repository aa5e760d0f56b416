"""Backup and restore through a store, beside the stock tools, on a real etcd of 1 GiB."""

import shutil

from .etcd import Etcd, database
from .measure import MIB, aim, alternate, load, measure, run_once, table, tool


class Bench:
    """One work dir with everything that the ways need; removed at the end."""

    def __init__(self, work, lifeboat, etcd):
        self.work, self.lifeboat, self.etcd = work, lifeboat, etcd
        self.log = work / "log"
        self.store, self.keys = work / "store", work / "keys"
        run_once([lifeboat, "keygen", "--role", "all", "--out", self.keys])
        self.identity = self.keys / "prove.key"
        self.recipient = (self.keys / "prove.pub").read_text().split()[-1]

    def config(self, compare):
        config = self.work / f"config-{compare}.yaml"
        config.write_text(
            f"cluster: bench\netcd: {{ endpoints: [{self.etcd.endpoint}], compare: {compare} }}\n"
            f"stores: [{{ url: \"file://{self.store}\" }}]\n"
            f"keys:\n  recipients: [{self.recipient}]\n"
            f"  signing_keys: {{ backup: {self.keys / 'backup.sign.key'} }}\n"
            f"schedule: {{ backup: \"*/30 * * * *\" }}\nproof: {{ scratch: {{ dir: {self.work / 'scratch'} }} }}\n"
        )
        return config

    def clear(self, *names):
        for name in names:
            path = self.work / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    # Backup.

    def before_backup(self):
        self.clear("store", "plain.db", "plain.db.part", "plain.db.zst.age")
        self.store.mkdir()

    def backup(self, compare="all"):
        return measure([self.lifeboat, "--config", self.config(compare), "backup"], log=self.log)

    def save(self):
        command = [tool("etcdctl"), f"--endpoints={self.etcd.endpoint}", "snapshot", "save", self.work / "plain.db"]
        return measure(command, log=self.log)

    def save_seal(self):
        seal = [tool("age"), "-r", self.recipient, "-o", self.work / "plain.db.zst.age"]
        saved = self.save()
        return saved.then(measure([tool("zstd"), "-q", "-1", "-c", self.work / "plain.db"], seal, log=self.log))

    # Restore.

    def before_restore(self):
        self.clear("data", "data.partial", "plain.db")

    def restore(self, *more):
        command = [self.lifeboat, "restore", "latest", "--store", f"file://{self.store}", "--identity", self.identity]
        command += ["--trust", f"backup={self.keys / 'backup.sign.pub'}", "--data-dir", self.work / "data"]
        return measure([*command, "--allow", "unproven", "--yes", *more], log=self.log)

    def stock_restore(self, *more):
        sealed = next(self.store.rglob("*.age"))
        opening = [tool("age"), "-d", "-i", self.identity, sealed]
        opened = measure(opening, [tool("zstd"), "-q", "-d", "-o", self.work / "plain.db"], log=self.log)
        command = [tool("etcdutl"), "snapshot", "restore", self.work / "plain.db", f"--data-dir={self.work / 'data'}", *more]
        return opened.then(measure(command, log=self.log))



OURS_BACKUP, ALONE = "lifeboat backup", "lifeboat backup, compare: off"
SAVE, SEAL = "etcdctl snapshot save", "etcdctl save, zstd -1 | age"
OURS_RESTORE, OURS_NO_BUMP, STOCK = "lifeboat restore", "lifeboat restore --no-bump", "age -d | zstd -d, etcdutl restore"


def report_backup(costs):
    middle = table(costs, OURS_BACKUP)
    ours = middle[OURS_BACKUP]
    aim("backup, wall, to the bare save", ours.wall / middle[SAVE].wall, 1.3)
    aim("backup, wall, to save, zstd and age", ours.wall / middle[SEAL].wall, 0.6)
    aim("backup, peak memory", ours.largest / MIB, 64, " MiB")
    print()


def report_restore(costs):
    middle = table(costs, OURS_RESTORE)
    aim("restore, wall, to the stock chain", middle[OURS_RESTORE].wall / middle[STOCK].wall, 0.7)
    aim("restore --no-bump, wall, to the stock chain", middle[OURS_NO_BUMP].wall / middle[STOCK].wall, 0.7)
    aim("restore, peak memory", max(middle[OURS_RESTORE].largest, middle[OURS_NO_BUMP].largest) / MIB, 64, " MiB")
    print()


def run(options, lifeboat, work):
    original = database()
    shutil.copytree(original, work / "etcd")
    db = (work / "etcd/member/snap/db").stat().st_size
    print(f"Through a store: database of {db / MIB:.0f} MiB, etcd 3.6; load {load()}\n")
    with Etcd(work / "etcd", work / "etcd.log") as etcd:
        bench = Bench(work, lifeboat, etcd)
        alone = lambda: bench.backup("off")
        ways = {OURS_BACKUP: bench.backup, ALONE: alone, SAVE: bench.save, SEAL: bench.save_seal}
        if options.does("backup"):
            report_backup(alternate(ways, options.runs, bench.before_backup))
        bench.before_backup()
        bench.backup()
    sealed = next(bench.store.rglob("*.age")).stat().st_size
    ways = {OURS_RESTORE: bench.restore, OURS_NO_BUMP: lambda: bench.restore("--no-bump"), STOCK: bench.stock_restore}
    if options.does("restore"):
        report_restore(alternate(ways, options.runs, bench.before_restore))
    print(f"sealed: {sealed / MIB:.0f} MiB, 1 to {db / sealed:.1f}\n")
