"""Outages on a real cluster, and the way back: what `tests/cluster/run` runs."""

import argparse
import base64
import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import fleet
from fleet import Fleet, run, until

NAMESPACE = "shop"
MANIFESTS = "/etc/kubernetes/manifests"
OFF = "/etc/kubernetes/off"
JOURNAL = "/etc/kubernetes/lifeboat-restore/journal.json"
STAGES = ["building", "stopping", "swapping", "starting", "waiting", "done"]
# Kinds that are compared object by object. Nodes, leases, events and endpoints live on by themselves.
KINDS = "namespaces,configmaps,secrets,serviceaccounts,services,deployments.apps,clusterroles,customresourcedefinitions"


class Drill:
    def __init__(self, cluster, lifeboat, work):
        self.cluster = cluster
        self.lifeboat = lifeboat
        self.work = pathlib.Path(work)
        self.first = cluster.nodes[0]
        self._prepare()

    def _prepare(self):
        keys, store = self.work / "keys", self.work / "store"
        run(self.lifeboat, "keygen", "--role", "all", "--out", keys)
        store.mkdir()
        self.config = self.work / "config.yaml"
        self.config.write_text(
            f"""cluster: prod-eu-1
etcd: kubeadm
stores: [{{url: file://{store}}}]
keys:
  recipients: [{keys}/recovery.pub, {keys}/prove.pub]
  signing_keys: {{backup: {keys}/backup.sign.key, prove: {keys}/prove.sign.key}}
  identity_file: {keys}/prove.key
schedule: {{backup: "*/30 * * * *"}}
proof:
  level: booted
  scratch: {{dir: {self.work}/scratch, max: 2GiB}}
  etcd: {{"3.6": {self.cluster.etcd}/etcd}}
"""
        )
        self.outage = ["--store", f"file://{store}", "--identity", f"{keys}/recovery.key"]
        self.outage += ["--trust", f"backup={keys}/backup.sign.pub", "--trust", f"prove={keys}/prove.sign.pub"]

    # --- what is in the cluster ----------------------------------------------------------------------------------------

    def fill(self):
        kubectl = self.cluster.kubectl
        kubectl("create", "namespace", NAMESPACE)
        documents = [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"item-{number}", "namespace": NAMESPACE},
                "data": {"text": f"item {number} " * 100},
            }
            for number in range(100)
        ]
        documents.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "password", "namespace": NAMESPACE},
                "stringData": {"password": "correct horse"},
            }
        )
        documents.append(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web", "namespace": NAMESPACE},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": {
                            "containers": [{"name": "web", "image": fleet.PAUSE, "imagePullPolicy": "Never"}],
                            "terminationGracePeriodSeconds": 1,
                        },
                    },
                },
            }
        )
        kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(document) for document in documents))
        self.reconciles()

    def objects(self):
        """Every object by kind, namespace and name, without what the control plane writes by itself."""
        listed = json.loads(self.cluster.kubectl("get", KINDS, "-A", "-o", "json"))["items"]
        found = {}
        for item in listed:
            meta = item["metadata"]
            item.pop("status", None)
            for field in ("resourceVersion", "managedFields", "generation"):
                meta.pop(field, None)
            for name in [name for name in meta.get("annotations", {}) if name.startswith("deployment.kubernetes.io/")]:
                del meta["annotations"][name]
            found[item["kind"], meta.get("namespace", ""), meta["name"]] = item
        return found

    def reconciles(self):
        """The deployment controller works: it replaces a pod that is deleted."""
        kubectl = self.cluster.kubectl
        status = ("get", "deployment", "web", "-n", NAMESPACE, "-o", "jsonpath={.status.readyReplicas}")
        until("the deployment", 120, lambda: attempt(kubectl, *status) == "2")

    def after(self):
        """Changes that no backup knows."""
        self.cluster.kubectl("create", "configmap", "later", "-n", NAMESPACE, "--from-literal=a=b")
        self.cluster.kubectl("delete", "configmap", "item-7", "-n", NAMESPACE)

    # --- backup and restore -----------------------------------------------------------------------------------------------

    def backup(self):
        # kube-root-ca and the like settle first, so that what is compared is what was saved.
        self.saved = self.objects()
        self.first.run(self.lifeboat, "--config", self.config, "backup", "--wait-proven", "2m")
        assert self.objects() == self.saved, "the cluster changed by itself during the backup"

    def command(self, *words):
        return [self.lifeboat, "restore", "--yes", *words]

    def everywhere(self, commands):
        """Each node's command at once, as several people would; what each said."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = [pool.submit(node.run, *command) for node, command in zip(self.cluster.nodes, commands)]
            return [future.result() for future in running]

    def restore(self, *words):
        """In place on every node, by the commands that the first one prints; seconds until the API answers everywhere."""
        start = time.monotonic()
        planned = json.loads(
            self.first.run(self.lifeboat, "restore", "--in-place", "--dry-run", "--json", *self.outage, *words)
        )["plan"]
        plan = ["--plan", planned["plan"]]
        # With what is told on the way, which goes to standard error.
        command = ["sh", "-c", 'exec "$@" 2>&1', "sh", *self.command("--in-place", *self.outage, *plan)]
        said = self.everywhere([command] * len(self.cluster.nodes))
        self.answers()
        return time.monotonic() - start, said

    def kill_at(self, stage):
        """A restore that is killed as soon as its journal names this stage, or at the next sight after it."""
        path = self.first.dir / "kubernetes" / pathlib.Path(JOURNAL).relative_to("/etc/kubernetes")
        command = self.first.enter(*self.command("--in-place", *self.outage))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = path.read_text() if path.exists() else ""

        def reached():
            text = path.read_text()
            return text != began and STAGES.index(json.loads(text)["stage"]) >= STAGES.index(stage)

        until(f"the stage {stage}", 60, lambda: process.poll() is not None or path.exists() and reached(), every=0.002)
        assert process.poll() is None, f"it ended before it was {stage}"
        process.kill()
        process.wait()
        return json.loads(path.read_text())["stage"]

    def undo(self):
        return self.everywhere([self.command("--undo")] * len(self.cluster.nodes))

    def answers(self):
        for node in self.cluster.nodes:
            url = f"--server=https://{node.address}:6443"
            until(f"the API on {node.name}", 120, lambda: attempt(self.cluster.kubectl, url, "get", "--raw", "/readyz"))

    def runbook(self, snapshot):
        """The official one by somebody who knows every command: seconds until the API answers everywhere."""
        start = time.monotonic()
        members = ",".join(f"{node.name}=https://{node.address}:2380" for node in self.cluster.nodes)
        nodes = self.cluster.nodes

        def off(node):
            node.run("mkdir", "-p", OFF)
            node.run("mv", f"{MANIFESTS}/etcd.yaml", f"{MANIFESTS}/kube-apiserver.yaml", OFF)
            until(f"the end on {node.name}", 120, lambda: not running(node, "etcd") and not running(node, "kube-apiserver"))

        def restore(node):
            peer = f"https://{node.address}:2380"
            own = node.number == 3
            node.run("sh", "-ec", "mv /var/lib/etcd/member /var/lib/etcd/member.old" if own else "mv /var/lib/etcd /var/lib/etcd.old")
            where = "/var/lib/etcd/new" if own else "/var/lib/etcd"
            arguments = ["--name", node.name, "--initial-cluster", members, "--initial-advertise-peer-urls", peer]
            arguments += ["--bump-revision", "1000000000", "--mark-compacted", "--data-dir", where]
            node.run(self.cluster.etcd / "etcdutl", "snapshot", "restore", snapshot, *arguments)
            if own:
                node.run("mv", "/var/lib/etcd/new/member", "/var/lib/etcd/member")

        def on(node):
            node.run("sh", "-ec", f"mv {OFF}/*.yaml {MANIFESTS}")

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for step in (off, restore, on):
                list(pool.map(step, nodes))
        self.answers()
        return time.monotonic() - start

    def etcdctl(self, *words):
        pki = "/etc/kubernetes/pki/etcd"
        tls = ["--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/server.crt", "--key", f"{pki}/server.key"]
        return self.first.run(self.cluster.etcd / "etcdctl", *tls, *words)

    def snapshot(self):
        target = self.work / "runbook.db"
        self.etcdctl("snapshot", "save", target)
        return target

    # --- what must hold ------------------------------------------------------------------------------------------------------

    def is_restored(self):
        until("the namespace", 60, lambda: attempt(self.cluster.kubectl, "get", "namespace", NAMESPACE))
        now = self.objects()
        missing = [key for key in self.saved if key not in now]
        changed = [key for key in self.saved if key in now and now[key] != self.saved[key]]
        added = [key for key in now if key not in self.saved]
        assert not missing and not changed and not added, f"missing {missing}, changed {changed}, added {added}"
        self.is_equal()
        self.reconciles()
        self.leads()

    def is_equal(self):
        """All members are there and hold the same."""

        def equal():
            said = attempt(self.etcdctl, "endpoint", "hashkv", "--cluster", "-w", "json")
            found = {one["HashKV"]["hash"] for one in json.loads(said)} if said else {}
            return len(found) == 1 and len(json.loads(said)) == len(self.cluster.nodes)

        until("equal members", 60, equal)

    def leads(self):
        """The controllers renew their leases."""
        lease = ("get", "lease", "kube-controller-manager", "-n", "kube-system", "-o", "jsonpath={.spec.renewTime}")
        before = attempt(self.cluster.kubectl, *lease)
        until("a leader that renews", 120, lambda: attempt(self.cluster.kubectl, *lease) not in (None, before))

    def version(self):
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?limit=1"
        return json.loads(self.cluster.kubectl("get", "--raw", path))["metadata"]["resourceVersion"]

    def watch(self, version):
        """What a watcher is told that goes on where it was cut off."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&resourceVersion={version}&timeoutSeconds=4"
        return attempt(self.cluster.kubectl, "get", "--raw", path, complete=True)

    def diagnose(self):
        """What somebody would ask first who was called."""
        for question in (
            ("get", "nodes"),
            ("get", "pods", "-A", "-o", "wide"),
            ("get", "namespace", NAMESPACE, "-o", "jsonpath={.status}"),
            ("get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"),
        ):
            print(f"$ kubectl {' '.join(question)}\n{attempt(self.cluster.kubectl, *question, complete=True)}", flush=True)

    def reads(self):
        """The backup tells what the API server wrote, by type, and keeps secrets to itself."""
        registry = f"/registry/%s/{NAMESPACE}/"

        def ask(command, *words):
            return self.first.run(self.lifeboat, command, "latest", *words, *self.outage)

        keys = ask("keys", registry % "deployments")
        assert f"{registry % 'deployments'}web  apps/v1 Deployment  " in keys, keys
        document = json.loads(ask("get", f"{registry % 'secrets'}password", "--json"))["key"]
        assert (document["kind"], document["hidden"], document["value_base64"]) == ("Secret", True, None), document
        shown = json.loads(ask("get", f"{registry % 'secrets'}password", "--json", "--show-secrets"))["key"]
        assert b"correct horse" in base64.b64decode(shown["value_base64"]), shown

    def note(self, text):
        print(f"  {text}", flush=True)


def attempt(call, *arguments, complete=False):
    """What it says, or nothing where it fails: for what is asked again. COMPLETE: what it says in any case."""
    try:
        return call(*arguments)
    except RuntimeError as error:
        return str(error) if complete else None


def running(node, container):
    tasks = node.ctr("tasks", "ls").splitlines()[1:]
    names = {line.split()[0]: line for line in node.ctr("containers", "ls").splitlines()[1:]}
    return any(f"/{container}:" in names.get(task.split()[0], "") for task in tasks if "RUNNING" in task)


def is_expired(said):
    return '"code":410' in said.replace(" ", "") or "Expired" in said or "too old resource version" in said


def three(drill):
    """All data, a majority, a namespace noticed late; beside the official runbook."""
    drill.fill()
    drill.backup()
    official = drill.runbook(drill.snapshot())
    drill.note(f"official runbook, by a script that knows every command     {official:6.1f} s")
    drill.is_restored()

    drill.after()
    watched = drill.version()
    took, said = drill.restore()
    print("\n".join("    | " + line for line in said[0].splitlines()), flush=True)
    drill.note(f"lifeboat restore --in-place, the same cluster             {took:6.1f} s   {took / official:.2f}x")
    drill.is_restored()
    told = drill.watch(watched)
    assert is_expired(told), f"a watcher from before was not told to list again: {told}"
    drill.note("a watcher from before is told to list again (410)")

    for number, name in ((3, "all data dirs lost"), (2, "a majority's data dirs lost")):
        for node in drill.cluster.nodes[:number]:
            node.run("sh", "-ec", "rm -rf /var/lib/etcd/*")
        took, _ = drill.restore()
        drill.is_restored()
        drill.note(f"{name:57} {took:6.1f} s")

    drill.cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    until("the namespace to go", 100, lambda: not attempt(drill.cluster.kubectl, "get", "namespace", NAMESPACE))
    took, _ = drill.restore()
    drill.is_restored()
    drill.note(f"{'a deleted namespace, noticed late':57} {took:6.1f} s")
    start = time.monotonic()
    drill.undo()
    drill.answers()
    assert not attempt(drill.cluster.kubectl, "get", "namespace", NAMESPACE), "undone, and the namespace is there"
    drill.is_equal()
    drill.note(f"{'and undone on all nodes':57} {time.monotonic() - start:6.1f} s")


def one(drill):
    """A single node: its data lost, and a restore without the revision bump."""
    drill.fill()
    drill.backup()
    drill.reads()
    drill.after()
    watched = drill.version()
    took, _ = drill.restore("--no-bump")
    drill.is_restored()
    told = drill.watch(watched)
    assert not is_expired(told), f"with --no-bump a watcher from before should not be told: {told}"
    drill.note(f"{'--no-bump: a watcher from before is told nothing':57} {took:6.1f} s")
    drill.first.run("sh", "-ec", "rm -rf /var/lib/etcd/*")
    took, _ = drill.restore()
    drill.is_restored()
    drill.note(f"{'the data dir lost':57} {took:6.1f} s")
    for stage in ("stopping", "swapping", "starting", "waiting"):
        was = drill.kill_at(stage)
        took, _ = drill.restore()
        drill.is_restored()
        drill.note(f"{f'killed at the stage `{was}`, and run again':57} {took:6.1f} s")


DRILLS = {"one": (one, 1), "three": (three, 3)}


def main():
    parser = argparse.ArgumentParser()
    for name in ("parts", "etcd", "lifeboat"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("drills", nargs="*", default=list(DRILLS))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.drills if name not in DRILLS]
    if unknown:
        parser.error(f"unknown drill {unknown[0]}; there are: {', '.join(DRILLS)}")
    for name in arguments.drills:
        body, nodes = DRILLS[name]
        work = tempfile.mkdtemp(prefix="lifeboat-cluster-")
        try:
            start = time.monotonic()
            with Fleet(nodes, arguments.parts, arguments.etcd, f"{work}/fleet") as cluster:
                print(f"{name}: kubeadm {cluster.version}, {nodes} node(s), up in {time.monotonic() - start:.1f} s", flush=True)
                drill = Drill(cluster, arguments.lifeboat, work)
                try:
                    body(drill)
                except BaseException:
                    drill.diagnose()
                    raise
            print(f"{name}: ok after {time.monotonic() - start:.1f} s", flush=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
