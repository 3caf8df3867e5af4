"""Nodes on this machine that come and go, each a process on free ports, and the `torc cluster` commands for it."""
import json, os, signal, socket, subprocess, time, urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
START_SECONDS = 60
MOVE_SECONDS = 240            # that copies may take to move


class ClusterFailure(Exception):
    """Something that must not happen did; the text says what, for people."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(condition, seconds, what):
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            raise ClusterFailure(f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return time.monotonic() - began


# What is damaged is made whole seconds after it was found, not a minute: no message is as old as that here.
MENDS_SOON = "reaping:\n  message-age-s: 5\nrequest:\n  timeout-ms: 2500\n"


class Node:
    def __init__(self, name, folder):
        self.name = name
        self.pb, self.http_port, self.peer = free_ports(3)
        self.address = ("127.0.0.1", self.pb)
        self.http = f"127.0.0.1:{self.http_port}"
        self.data = os.path.join(folder, name)
        self.config = os.path.join(folder, f"{name}.yaml")
        self.log = os.path.join(folder, f"{name}.log")
        self.process = None

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def json(self, path):
        with OPENER.open(f"http://{self.http}{path}", timeout=10) as answer:
            return json.load(answer)

    def answers(self):
        try:
            self.json("/admin/cluster/status")
            return True
        except OSError:
            return False


class ChangingCluster:
    def __init__(self, folder, torc, count, partitions=32, name="changing", settings=""):
        """`settings`: lines of YAML that each node is given."""
        self.folder, self.settings = folder, settings
        self.name = name
        self.torc = torc
        self.partitions = partitions
        self.shown = []          # the commands and what they printed
        self.key = os.path.join(folder, "cluster.key")
        with open(os.open(self.key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("a secret for a cluster that changes\n")
        self.nodes = {f"node{k}": Node(f"node{k}", folder) for k in range(1, count + 1)}
        for node in self.nodes.values():
            self.configure(node, list(self.nodes.values()))

    def configure(self, node, members=None):
        with open(node.config, "w") as f:
            f.write(f"node:\n  name: {node.name}\ndata-folder: {node.data}\ncluster:\n  name: {self.name}\n"
                    f"  key-file: {self.key}\n  partitions: {self.partitions}\n")
            if members:
                f.write("  members:\n" + "".join(f"    - {m.name}=127.0.0.1:{m.peer}\n" for m in members))
            f.write(f"listen:\n  pb: 127.0.0.1:{node.pb}\n  http: 127.0.0.1:{node.http_port}\n"
                    f"  peer: 127.0.0.1:{node.peer}\nthreads:\n  lanes: 1\nlimits:\n  disk-reserve: 0\n"
                    # So slow that copies move for some seconds.
                    f"repair:\n  bytes-per-second: 4194304\n{self.settings}")

    def start(self, node, *flags):
        with open(node.log, "ab") as log:
            node.process = subprocess.Popen([self.torc, "serve", "--config", node.config, *flags], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)

        def up():
            if not node.runs:
                with open(node.log, errors="replace") as f:
                    raise ClusterFailure(f"{node.name} ended:\n{f.read()[-2000:]}")
            return node.answers()
        return wait_for(up, START_SECONDS, f"{node.name} answers")

    def start_all(self):
        for node in self.nodes.values():
            self.start(node)
        wait_for(lambda: all(member["link"] != "down" for node in self.nodes.values()
                             for member in node.json("/admin/cluster/status")["members"]), 30, "all nodes are linked")

    def fill(self, nodes, keys):
        done = subprocess.run([self.torc, "bench", "load", "--preload-only", "--keys", str(keys), "--targets",
                               ",".join(f"127.0.0.1:{node.pb}" for node in nodes)], capture_output=True, text=True,
                              timeout=MOVE_SECONDS)
        if done.returncode != 0:
            raise ClusterFailure(f"the keys cannot be written:\n{done.stdout}{done.stderr}")

    def kill(self, node):
        node.process.send_signal(signal.SIGKILL)
        node.process.wait()

    def end(self):
        for node in self.nodes.values():
            if node.runs:
                node.process.kill()
                node.process.wait()

    def command(self, node, *arguments, fails=False):
        """What `torc cluster …` prints, asked of a node."""
        command = ["cluster", *arguments, "--http", node.http]
        done = subprocess.run([self.torc, *command], capture_output=True, text=True, timeout=MOVE_SECONDS)
        self.shown.append(f"$ torc {' '.join(command)}\n{done.stdout}{done.stderr}")
        if (done.returncode != 0) != fails:
            raise ClusterFailure(f"torc {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def join(self, name, member):
        node = self.nodes[name] = Node(name, self.folder)
        self.configure(node)
        token = self.command(member, "token").strip()
        self.start(node, "--join", member.http, "--token", token)
        return node

    def commit(self, node):
        plan = json.loads(self.command(node, "plan", "--json"))
        self.command(node, "plan")
        self.command(node, "commit", plan["plan"])
        return plan

    def settle(self, node, epoch_above):
        def settled():
            ring = node.json("/admin/cluster/ring")
            return ring["phase"] == "settled" and ring["epoch"] > epoch_above
        return wait_for(settled, MOVE_SECONDS, "copies have moved")

    def repair(self, node):
        request = urllib.request.Request(f"http://{node.http}/admin/repair", method="POST", data=b"")
        with OPENER.open(request, timeout=MOVE_SECONDS) as answer:
            return json.load(answer)

    def become_equal(self, nodes):
        """Passes of repair until a whole one finds nothing."""
        for passes in range(1, 6):
            answers = [self.repair(node) for node in nodes]
            if all(a["compared"] == a["pairs"] and a["differing_keys"] == 0 for a in answers):
                return passes
        raise ClusterFailure(f"replicas differ after 5 passes of repair: {answers}")
