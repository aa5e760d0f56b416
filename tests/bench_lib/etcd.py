"""A real etcd, and the database that it is filled with once and that then stays in the cache."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .measure import CACHE, MIB, Failed, build, environment, say, tool

# Raise it when tests/src/objects.rs makes something else.
RECIPE = "recipe-1"
GIB = 1 << 30


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Etcd:
    """A real etcd on loopback with the given data dir, ended by its pid; `sync`: writes wait for the disk, as they should."""

    def __init__(self, data_dir, log, sync=False):
        client, peer = free_port(), free_port()
        self.endpoint, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        # The cache must not depend on a port of today: a member that is there already keeps its own peer URL.
        command = [tool("etcd"), "--name=bench", f"--data-dir={data_dir}", f"--listen-client-urls={self.endpoint}"]
        command += [f"--advertise-client-urls={self.endpoint}", f"--listen-peer-urls={peers}"]
        command += ["--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=bench=http://127.0.0.1:2380"]
        command += ["--quota-backend-bytes=8589934592", "--log-level=warn"]
        command += [] if sync else ["--unsafe-no-fsync"]
        command += ["--snapshot-count=500", "--snapshot-catchup-entries=50", "--max-wals=1"]
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment())

    def __enter__(self):
        deadline = time.monotonic() + 60
        ask = [tool("etcdctl"), f"--endpoints={self.endpoint}", "endpoint", "health"]
        while subprocess.run(ask, capture_output=True, env=environment()).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Failed(f"etcd did not start:\n{Path(self.log).read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        ended = (0, 0, None)
        while ended[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
            ended = os.wait4(self.process.pid, os.WNOHANG)
        if ended[0] == 0:
            self.process.kill()
            ended = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(ended[1])
        # What it cost, as the kernel counts it.
        self.usage = ended[2]


def database():
    """The data dir of 1 GiB in the cache; the first time it is made, about a minute."""
    made = CACHE / "bench-etcd-3.6"
    stamp = f"{RECIPE} {GIB}"
    if (made / ".stamp").is_file() and (made / ".stamp").read_text() == stamp:
        return made / "data"
    aside = CACHE / ".partial-bench-etcd-3.6"
    for path in (aside, made):
        shutil.rmtree(path, ignore_errors=True)
    aside.mkdir(parents=True)
    fill(aside / "data", aside / "etcd.log", GIB)
    (aside / ".stamp").write_text(stamp)
    aside.rename(made)
    return made / "data"


def fill(data_dir, log, db_bytes):
    """Fills a fresh data dir, as Kubernetes would, until its database has that many bytes."""
    say(f"making a database of {db_bytes // MIB} MiB, once ...")
    program = build("lifeboat-tests", "fill")
    begin = time.monotonic()
    with Etcd(data_dir, log) as etcd:
        filled = subprocess.run([program, etcd.endpoint, str(db_bytes)], capture_output=True, text=True, check=False)
        if filled.returncode != 0:
            raise Failed(f"fill failed: {filled.stderr}")
    say(f"it has {filled.stdout.strip()} ({time.monotonic() - begin:.0f} s)")
