"""What the parts of the bench share: places, running programs as measured pipelines, medians, tables, aims."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("LIFEBOAT_CACHE") or Path.home() / ".cache/lifeboat").absolute()
MIB = 1 << 20


class Failed(Exception):
    """Something that had to run did not; the text says what and what to look at."""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def tool(name):
    folder = "etcd-3.6" if name.startswith("etcd") else "tools"
    path = CACHE / folder / name
    if not path.is_file():
        raise Failed(f"{path} is missing: run tests/setup")
    return str(path)


class Cost:
    """Wall seconds, processor seconds (user and system), peak memory: the largest process, and all of a pipeline."""

    def __init__(self, wall=0.0, cpu=0.0, largest=0, together=0):
        self.wall, self.cpu, self.largest, self.together = wall, cpu, largest, together

    def then(self, other):
        """One after the other: times add up, the memory is that of the hungrier step."""
        largest, together = max(self.largest, other.largest), max(self.together, other.together)
        return Cost(self.wall + other.wall, self.cpu + other.cpu, largest, together)


def measure(*pipeline, log):
    """Runs the commands as one pipeline. The kernel's own account of each child: wait4."""
    begin = time.monotonic()
    with open(log, "ab") as err:
        children, before = [], subprocess.DEVNULL
        for place, command in enumerate(pipeline):
            out = err if place == len(pipeline) - 1 else subprocess.PIPE
            child = subprocess.Popen(command, stdin=before, stdout=out, stderr=err, env=environment())
            if before not in (None, subprocess.DEVNULL):
                before.close()
            children.append(child)
            before = child.stdout
        cost = Cost()
        for child in children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            # Linux counts ru_maxrss in KiB. A child starts with this script's own few MiB, the floor of what is shown.
            peak = usage.ru_maxrss * 1024
            cost.cpu += usage.ru_utime + usage.ru_stime
            cost.largest = max(cost.largest, peak)
            cost.together += peak
    cost.wall = time.monotonic() - begin
    for command, child in zip(pipeline, children):
        if child.returncode != 0:
            tail = Path(log).read_text(errors="replace")[-2000:]
            raise Failed(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{tail}")
    return cost


def environment():
    """As the tests run it: nothing of the person who calls."""
    return {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}


def run_once(command):
    """Runs something that is not measured, and gives what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def alternate(ways, runs, prepare):
    """Runs every way `runs` times, the order reversed each time, and returns the costs of each."""
    costs = {name: [] for name in ways}
    for run in range(runs):
        names = list(ways) if run % 2 == 0 else list(reversed(ways))
        for name in names:
            prepare()
            os.sync()
            costs[name].append(ways[name]())
            say(f"run {run + 1} of {runs}, {name}: {costs[name][-1].wall:.2f} s")
    return costs


def medians(costs):
    pick = lambda field: statistics.median(getattr(cost, field) for cost in costs)
    return Cost(pick("wall"), pick("cpu"), pick("largest"), pick("together"))


def build(package, binary):
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", package, "--bin", binary]
    if subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failed(" ".join(command))
    ask = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    told = subprocess.run(ask, cwd=REPOSITORY, capture_output=True, check=True).stdout
    return str(Path(json.loads(told)["target_directory"]) / "release" / binary)


def table(costs, ours):
    """Rows of medians; `x` is the wall time of the first of `ours` divided by the row's."""
    middle = {name: medians(each) for name, each in costs.items()}
    print(f"{'':36} {'wall s':>8} {'(runs)':>20} {'cpu s':>8} {'peak MiB':>9} {'all MiB':>8}  ours/this")
    for name, cost in middle.items():
        runs = " ".join(f"{each.wall:.2f}" for each in costs[name])
        ratios = f"{middle[ours].wall / cost.wall:.2f} wall, {middle[ours].cpu / cost.cpu:.2f} cpu" if name != ours else ""
        memory = f"{cost.largest / MIB:9.0f} {cost.together / MIB:8.0f}"
        print(f"{name:36} {cost.wall:8.2f} {runs:>20} {cost.cpu:8.2f} {memory}  {ratios}")
    print()
    return middle


def aim(what, value, limit, unit="", least=False):
    """At most `limit`, or at least."""
    verdict = "met" if (value >= limit if least else value <= limit) else "NOT met"
    print(f"  {verdict:8} {what}: {value:.2f}{unit}, aim {'>=' if least else '<='} {limit}{unit}")


def load():
    return " ".join(f"{part:.2f}" for part in os.getloadavg())
