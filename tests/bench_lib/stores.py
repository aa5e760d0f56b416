"""What of a bucket's speed reaches a backup and a fetch: our own transfer beside rclone's, of the same object, on a SeaweedFS
here, near and with a delay on the way."""

import hashlib
import json
import os
import subprocess

from .measure import CACHE, MIB, Failed, aim, alternate, build, environment, load, measure, medians, run_once

BYTES = 384 * MIB
# Of a sealed object: as agent/docs/objects.md has it.
CHUNK_BYTES = 4 * MIB
# On each way, so that an answer takes twice that: another region of the same continent.
LATE_MS = 20
MEMORY = 64
OURS = "lifeboat"
SUMMED = "rclone cat | sha256sum"


def rclone():
    path = CACHE / "rclone" / "rclone"
    if not path.is_file():
        raise Failed(f"{path} is missing: run tests/setup rclone")
    return str(path)


def sealed(path):
    """A file as incompressible as a sealed one, and beside it the digests of its chunks."""
    sums = []
    with open(path, "wb") as file:
        for _ in range(BYTES // CHUNK_BYTES):
            digest = hashlib.sha256()
            # In small pieces: what this script holds counts as a child's memory too.
            for _ in range(CHUNK_BYTES // (256 << 10)):
                piece = os.urandom(256 << 10)
                file.write(piece)
                digest.update(piece)
            sums.append(digest.hexdigest() + "\n")
    path.with_name(path.name + ".sums").write_text("".join(sums))


class Server:
    """The bucket, near and late, while the `with` lasts."""

    def __init__(self, program, work):
        # Beside the cache: what it keeps would not fit a memory file system.
        self.environment = {**environment(), "LIFEBOAT_CACHE": str(CACHE), "TMPDIR": str(work)}
        self.command, self.log = [program, str(LATE_MS)], work / "server.log"

    def __enter__(self):
        pipe = subprocess.PIPE
        with open(self.log, "ab") as err:
            self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=err, env=self.environment)
        line = self.process.stdout.readline()
        if not line:
            self.__exit__()
            raise Failed(f"{self.command[0]}: {self.log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


class Bench:
    """One way to the bucket, and what goes over it."""

    def __init__(self, program, work, served, endpoint):
        self.program, self.work, self.served, self.endpoint = program, work, served, endpoint
        # An object as sealed goes up under a name of its own each time.
        self.log, self.file, self.number = work / "log", work / "db.zst.age", 0

    def fresh(self):
        self.number += 1
        return self.name(self.number)

    def name(self, number):
        line = self.endpoint.rsplit(":", 1)[1]
        return f"bench/backups/20261123T120000Z-{int(line):08x}{number:08x}/db.zst.age"

    def ours(self, way, name):
        options = {**self.served["options"], "endpoint": self.endpoint}
        command = [self.program, way, self.file, name, f"s3://{self.served['bucket']}"]
        return measure([*command, *(f"{name}={value}" for name, value in options.items())], log=self.log)

    def remote(self, name):
        has = self.served["options"]
        keys = f"access_key_id={has['access_key_id']},secret_access_key={has['secret_access_key']}"
        server = f"provider=Other,region={has['region']},endpoint=\"{self.endpoint}\""
        return f":s3,{server},{keys}:{self.served['bucket']}/{name}"

    def rclone(self, *command):
        """Part size and parts at a time are its own defaults; what is no transfer is turned off."""
        plain = ["--config=", "--retries=1", "--no-check-dest", "--s3-no-check-bucket", "--s3-disable-checksum"]
        return [rclone(), *command, *plain]

    def rclone_up(self):
        return measure(self.rclone("copyto", self.file, self.remote(self.fresh())), log=self.log)

    def rclone_cat(self):
        nowhere = ["/bin/sh", "-c", 'exec "$@" > /dev/null', "cat"]
        return measure([*nowhere, *self.rclone("cat", self.remote(self.name(0)))], log=self.log)

    def rclone_sum(self):
        return measure(self.rclone("cat", self.remote(self.name(0))), ["sha256sum"], log=self.log)

    def rclone_down(self):
        return measure(self.rclone("copyto", self.remote(self.name(0)), self.work / "came"), log=self.log)

    def agree(self):
        """What we sent is what rclone reads, to the bit: one object for all downloads."""
        self.ours("up", self.name(0))
        run_once(self.rclone("copyto", self.remote(self.name(0)), self.work / "came"))
        run_once(["cmp", self.file, self.work / "came"])

    def ways(self):
        up = {OURS: lambda: self.ours("up", self.fresh()), "rclone copyto": self.rclone_up}
        down = {
            OURS: lambda: self.ours("down", self.name(0)),
            "rclone cat, nothing checked": self.rclone_cat,
            SUMMED: self.rclone_sum,
            "rclone copyto, four into a file": self.rclone_down,
        }
        return {"upload": up, "download": down}

    def prepare(self):
        (self.work / "came").unlink(missing_ok=True)


def run(options, work):
    program, server = build("lifeboat-tests", "transfer"), build("lifeboat-tests", "slow_s3")
    sealed(work / "db.zst.age")
    with Server(server, work) as served:
        for line, endpoint in (("near", "endpoint"), (f"{LATE_MS} ms late each way", "late_endpoint")):
            bench = Bench(program, work, served, served[endpoint])
            bench.agree()
            for way, ways in bench.ways().items():
                print(f"{way} of {BYTES // MIB} MiB, SeaweedFS, {line}; load {load()}")
                report(way, line, alternate(ways, options.runs, bench.prepare))


def report(way, line, costs):
    rate = lambda wall: BYTES / MIB / wall
    middle = {name: medians(each) for name, each in costs.items()}
    ours = middle[OURS]
    print(f"{'':36} {'MiB/s':>8} {'(runs)':>24} {'cpu s':>8} {'peak MiB':>9}  ours/this")
    for name, cost in middle.items():
        runs = " ".join(f"{rate(each.wall):.0f}" for each in costs[name])
        ratio = f"{cost.wall / ours.wall:.2f}" if name != OURS else ""
        print(f"{name:36} {rate(cost.wall):8.0f} {runs:>24} {cost.cpu:8.2f} {cost.largest / MIB:9.0f}  {ratio}")
    best = min(cost.wall for name, cost in middle.items() if name != OURS)
    print()
    aim(f"{way}, {line}, speed to rclone's best", best / ours.wall, 0.9, least=True)
    if SUMMED in middle:
        aim(f"{way}, {line}, speed to rclone's with a digest, as ours", middle[SUMMED].wall / ours.wall, 0.9, least=True)
    aim(f"{way}, {line}, peak memory", ours.largest / MIB, MEMORY, " MiB")
    print()
