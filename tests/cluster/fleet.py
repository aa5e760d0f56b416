"""A real kubeadm cluster of one or three nodes on this machine.

Each node has a network namespace on a bridge that lives in a namespace of its own, a mount namespace with its own
/etc/kubernetes and /var/lib, its own containerd, kubelet and cgroups. Nothing is pulled and no service is started;
everything ends by its pid or its own namespace. Addresses are the same in every fleet, and no fleet sees another.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import image

PAUSE = "localhost/pause:3.10.2"
ETCD_TAG = "3.6.14-0"
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def run(*command, **options):
    """Runs to the end; what it said is in the error."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        said = (done.stdout[-2000:] + done.stderr[-4000:]).strip()
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")
    return done.stdout


def until(what, seconds, check, every=0.2):
    """Waits until CHECK gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds} s for {what}")
        time.sleep(every)


class Node:
    def __init__(self, fleet, number):
        self.fleet = fleet
        self.number = number
        self.name = f"cp-{number}"
        self.address = f"10.99.0.{number}"
        self.dir = fleet.dir / f"node-{number}"
        self.netns = f"{fleet.id}-{number}"
        self.cgroup = f"{fleet.id}-{number}"
        self.socket = self.dir / "run/containerd.sock"
        self.processes = []

    def enter(self, *command):
        """COMMAND as if on this node."""
        where = ["nsenter", f"--net=/run/netns/{self.netns}", f"--mount={self.dir}/keep/mount", "--"]
        return where + [str(word) for word in command]

    def run(self, *command, **options):
        return run(*self.enter(*command), **options)

    def start(self, name, *command):
        with open(self.dir / f"{name}.log", "ab") as log:
            environment = os.environ | {"PATH": f"{self.fleet.parts}:{os.environ['PATH']}"}
            process = subprocess.Popen(self.enter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.processes.append(process)
        return process

    def up(self):
        for name in ("kubernetes", "lib/kubelet", "lib/etcd", "containerd", "run", "cni", "pods", "keep", "own-disk"):
            (self.dir / name).mkdir(parents=True)
        self._network()
        self._mounts()
        for controller in CGROUPS.iterdir():
            if controller.is_dir():
                (controller / self.cgroup).mkdir(exist_ok=True)
        cpuset = CGROUPS / "cpuset"
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (cpuset / self.cgroup / name).exists():
                (cpuset / self.cgroup / name).write_text((cpuset / name).read_text())
        self._containerd()
        self._kubelet()

    def _network(self):
        fleet = self.fleet.netns
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", fleet, "link", "add", f"v{self.number}", "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        run("ip", "-n", fleet, "link", "set", f"v{self.number}", "master", "br0", "up")
        run("ip", "-n", self.netns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", self.netns, "link", "set", device, "up")
        run("ip", "-n", self.netns, "route", "add", "default", "via", "10.99.0.254")

    def _mounts(self):
        keep = self.dir / "keep"
        run("mount", "--bind", keep, keep)
        run("mount", "--make-private", keep)
        (keep / "mount").touch()
        binds = [f"mount --bind {self.dir}/kubernetes /etc/kubernetes", f"mount --bind {self.dir}/lib /var/lib"]
        binds += ["mount --bind /var/lib/kubelet /var/lib/kubelet", "mount --make-shared /var/lib/kubelet"]
        # The last node's etcd has a disk of its own, which cannot be renamed.
        if self.number == 3:
            binds.append(f"mount --bind {self.dir}/own-disk /var/lib/etcd")
        os.makedirs("/etc/kubernetes", exist_ok=True)
        run("unshare", f"--mount={keep}/mount", "--propagation", "slave", "sh", "-ec", "; ".join(binds))

    def _containerd(self):
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": f"{self.dir}/run/ipam",
                "ranges": [[{"subnet": f"10.244.{self.number}.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (self.dir / "cni/10-bridge.conflist").write_text(json.dumps(network))
        (self.dir / "containerd.toml").write_text(
            f"""version = 2
root = "{self.dir}/containerd"
state = "{self.dir}/run/containerd"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true # no CAP_SYS_RESOURCE is needed then
  netns_mounts_under_state_dir = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{self.fleet.parts}"
    conf_dir = "{self.dir}/cni"
"""
        )
        self.start("containerd", self.fleet.parts / "containerd", "-c", self.dir / "containerd.toml")
        until(f"containerd of {self.name}", 30, lambda: self.ctr("version", check=False) is not None)
        for archive in sorted((self.fleet.dir / "images").iterdir()):
            self.ctr("images", "import", archive)

    def ctr(self, *command, check=True):
        try:
            return run(self.fleet.parts / "ctr", "-a", self.socket, "-n", "k8s.io", *command)
        except RuntimeError:
            if check:
                raise
            return None

    def _kubelet(self):
        script = self.dir / "kubelet.sh"
        kubeconfig = "--kubeconfig /etc/kubernetes/kubelet.conf --bootstrap-kubeconfig /etc/kubernetes/bootstrap-kubelet.conf"
        script.write_text(
            f"""#!/bin/bash
# kubeadm expects a service manager to start the kubelet once its files are there.
until [ -s /var/lib/kubelet/kubeadm-flags.env ] && [ -s /var/lib/kubelet/config.yaml ]; do sleep 0.2; done
sleep 0.3
sed -i -e 's#^podLogsDir:.*#podLogsDir: {self.dir}/pods#' -e 's#^cgroupRoot:.*#cgroupRoot: /{self.cgroup}#' /var/lib/kubelet/config.yaml
. /var/lib/kubelet/kubeadm-flags.env
exec {self.fleet.parts}/kubelet --config /var/lib/kubelet/config.yaml {kubeconfig} $KUBELET_KUBEADM_ARGS
"""
        )
        self.start("kubelet", "bash", script)

    def registration(self):
        return f"""nodeRegistration:
  name: {self.name}
  criSocket: unix://{self.socket}
  imagePullPolicy: Never
  taints: []
  kubeletExtraArgs: [{{name: node-ip, value: {self.address}}}]
"""

    def kubeadm(self, *arguments):
        return self.run(self.fleet.parts / "kubeadm", *arguments)

    def down(self):
        """By pid and by namespace, and as far as it came up."""
        for process in reversed(self.processes[1:]):
            _end(process)
        for task in (self.ctr("tasks", "ls", "-q", check=False) or "").split():
            self.ctr("tasks", "kill", "-s", "KILL", task, check=False)
        time.sleep(1)
        for process in self.processes[:1]:
            _end(process)
        mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.dir}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)
        for controller in CGROUPS.iterdir():
            for group in sorted((controller / self.cgroup).rglob("*"), reverse=True):
                if group.is_dir():
                    _remove_group(group)
            _remove_group(controller / self.cgroup)


def _end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _remove_group(path):
    try:
        path.rmdir()
    except OSError:
        pass  # its last process is still ending, or it never was; an empty group does no harm


class Fleet:
    """`with Fleet(...) as fleet:` is a cluster that answers."""

    def __init__(self, nodes, parts, etcd, work):
        self.parts = pathlib.Path(parts)
        self.etcd = pathlib.Path(etcd)
        self.dir = pathlib.Path(work)
        self.id = f"lb{os.getpid()}n{nodes}"
        self.netns = f"{self.id}-fleet"
        self.nodes = [Node(self, number + 1) for number in range(nodes)]

    def __enter__(self):
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def _up(self):
        self.version = run(self.parts / "kubeadm", "version", "-o", "short").strip()
        self._images()
        run("ip", "netns", "add", self.netns)
        run("ip", "-n", self.netns, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.netns, "addr", "add", "10.99.0.254/24", "dev", "br0")
        for device in ("br0", "lo"):
            run("ip", "-n", self.netns, "link", "set", device, "up")
        first, *others = self.nodes
        first.up()
        self._init(first)
        for node in others:
            node.up()
            self._join(first, node)

    def _images(self):
        images = self.dir / "images"
        images.mkdir(parents=True)
        image.write(images / "pause.tar", PAUSE, {"/pause": self.parts / "pause"})
        image.write(images / "etcd.tar", f"localhost/etcd:{ETCD_TAG}", {"/etcd": self.etcd / "etcd"})
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            image.write(images / f"{name}.tar", f"localhost/{name}:{self.version}", {f"/{name}": self.parts / name})

    def _init(self, node):
        config = node.dir / "kubeadm.yaml"
        config.write_text(
            f"""apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {node.address}, bindPort: 6443}}
{node.registration()}---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {self.version}
imageRepository: localhost
controlPlaneEndpoint: "{node.address}:6443"
etcd: {{local: {{imageRepository: localhost, imageTag: {ETCD_TAG}}}}}
networking: {{podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{node.cgroup}
failSwapOn: false
podLogsDir: {node.dir}/pods
evictionHard: {{memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}}
"""
        )
        node.kubeadm("init", "--config", config, "--skip-phases=preflight,addon", "--ignore-preflight-errors=all")

    def _join(self, first, node):
        config = first.dir / "kubeadm.yaml"
        key = first.kubeadm("init", "phase", "upload-certs", "--upload-certs", "--config", config).split()[-1]
        admin = "/etc/kubernetes/super-admin.conf"
        token = first.kubeadm("token", "create", "--config", config, "--kubeconfig", admin).split()[-1]
        join = node.dir / "kubeadm.yaml"
        join.write_text(
            f"""apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {{token: "{token}", apiServerEndpoint: "{first.address}:6443", unsafeSkipCAVerification: true}}
controlPlane:
  localAPIEndpoint: {{advertiseAddress: {node.address}, bindPort: 6443}}
  certificateKey: "{key}"
{node.registration()}"""
        )
        node.kubeadm("join", "--config", join, "--skip-phases=preflight")

    def kubectl(self, *arguments, **options):
        admin = "--kubeconfig=/etc/kubernetes/super-admin.conf"
        return self.nodes[0].run(self.parts / "kubectl", admin, "--request-timeout=10s", *arguments, **options)

    def down(self):
        for node in self.nodes:
            node.down()
        subprocess.run(["ip", "netns", "del", self.netns], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)
