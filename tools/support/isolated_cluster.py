"""Nodes in network namespaces of their own, joined by a bridge, all of it inside namespaces that end with the script.

`in_own_namespaces` runs a script again in fresh network, mount and process namespaces: whatever it starts, mounts and
cuts is gone with it, however it ends. Inside, node k is 10.87.0.k in the network namespace `node<k>`; a cut is a
filter on what arrives there, so that packets vanish without a word, as on a broken switch. The script itself (the
clients, the checker) is on the bridge and reaches every node. The first nodes are declared in every one's
configuration; those that are added later join, and no number is used twice.
"""
import json, os, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.request

PB, HTTP, PEER = 8087, 8098, 8099
FOLDER_VARIABLE = "ISOLATED_CLUSTER_FOLDER"
# No proxy of the environment stands between the script and its nodes.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
START_SECONDS = 60
STOP_SECONDS = 30
COMMAND_SECONDS = 40
DISK_MEGABYTES = 768
# Free space below which a node refuses what clients add; less than the default, for disks of this size.
RESERVE_BYTES = 128 << 20
TOOLS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "nft": "nftables", "strace": "strace"}


class ClusterFailure(Exception):
    """Something that must not happen did; the text says what, for people."""


def in_own_namespaces():
    """The folder for everything that is made, once inside. Outside: runs the script inside, cleans up, exits."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is not None:
        threading.Thread(target=end_with_parent, args=(folder,), daemon=True).start()
        return folder
    missing = [f"{tool} (package {package})" for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; tools/setup installs them")
    folder = tempfile.mkdtemp(prefix="torc-chaos-")
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command.append("--map-root-user")
    # A session of its own: Ctrl-C is for this process, and the end of the inner one ends all nodes.
    inner = subprocess.Popen(command + [sys.executable, *sys.argv], env=dict(os.environ, **{FOLDER_VARIABLE: folder}),
                             stdin=subprocess.PIPE, start_new_session=True)

    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    try:
        status = inner.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("interrupted: ending the nodes and removing everything", flush=True)
        status = 130
    finally:
        inner.kill()
        inner.wait()
        if not os.path.exists(os.path.join(folder, "keep")):
            remove(folder)
    sys.exit(status)


def end_with_parent(folder):
    """The outer process holds this pipe open for as long as it lives; what it would do is done here if it was killed."""
    os.read(0, 1)
    if os.getpid() == 1:         # of these namespaces: all others in them are nodes and tools
        os.kill(-1, signal.SIGKILL)
        for name in os.listdir(folder):
            if os.path.ismount(os.path.join(folder, name)):
                subprocess.run(["umount", "--lazy", os.path.join(folder, name)], capture_output=True)
        remove(folder)
    os._exit(1)


def remove(folder):
    # The nodes are killed before this; their last files may still be appearing.
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.1)


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, **options)
    if done.returncode != 0:
        raise ClusterFailure(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
    return done.stdout


class Node:
    def __init__(self, number, folder):
        self.number = number
        self.name = f"node{number}"
        self.ip = f"10.87.0.{number}"
        self.address = (self.ip, PB)
        self.disk = os.path.join(folder, self.name)          # where its disk is mounted, if it has one of its own
        self.data = os.path.join(self.disk, "data")
        self.config = os.path.join(folder, f"{self.name}.yaml")
        self.log = os.path.join(folder, f"{self.name}.log")
        self.joins = None        # the member to ask and the token, of a node that is not declared
        self.torc = None         # a build of its own; None: the cluster's
        self.process = None

    @property
    def http(self):
        return f"{self.ip}:{HTTP}"

    def inside(self, *command):
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def log_size(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def log_since(self, offset):
        with open(self.log, "rb") as f:
            f.seek(offset)
            return f.read().decode(errors="replace")


class IsolatedCluster:
    def __init__(self, folder, torc, count, small_disk=None, lanes=1, settings=()):
        """`small_disk`: the number of the node whose data stands on a tmpfs of DISK_MEGABYTES; `settings`: lines of the
        configuration."""
        self.torc = os.path.abspath(torc)
        self.folder = folder
        self.lanes, self.settings = lanes, settings
        self.nodes = [Node(k, folder) for k in range(1, count + 1)]
        self.last_number = count
        self.cut_now = False
        # A node takes TORC_… for settings of its own.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TORC_")}
        # Half a minute of backtrace would be half a minute in which a crashed process still holds its sockets.
        self.environment["SWIFT_BACKTRACE"] = "enable=no"
        if not os.access(self.torc, os.X_OK):
            raise ClusterFailure(f"there is no {torc}")
        run("ip", "link", "set", "lo", "up")
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        run("ip", "link", "add", "hub", "type", "bridge")
        run("ip", "address", "add", "10.87.0.254/24", "dev", "hub")
        run("ip", "link", "set", "hub", "up")
        self.key = os.path.join(folder, "cluster.key")
        with open(os.open(self.key, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write(os.urandom(32).hex())
        for node in self.nodes:
            self.make(node, declared=self.nodes, small_disk=node.number == small_disk)

    def make(self, node, declared, small_disk=False):
        """Its network, its disk, its configuration."""
        run("ip", "netns", "add", node.name)
        run("ip", "link", "add", f"hub{node.number}", "type", "veth", "peer", "name", "eth0", "netns", node.name)
        run("ip", "link", "set", f"hub{node.number}", "master", "hub", "up")
        run("ip", "-n", node.name, "link", "set", "lo", "up")
        run("ip", "-n", node.name, "address", "add", f"{node.ip}/24", "dev", "eth0")
        run("ip", "-n", node.name, "link", "set", "eth0", "up")
        os.makedirs(node.disk)
        if small_disk:
            run("mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "none", node.disk)
        members = ["  members:", *(f"    - {m.name}={m.ip}:{PEER}" for m in declared)] if declared else []
        with open(node.config, "w") as f:
            f.write("\n".join([
                "node:", f"  name: {node.name}", f"data-folder: {node.data}", "insecure: true",
                "cluster:", "  name: isolated", f"  key-file: {self.key}", *members,
                "listen:", f"  pb: {node.ip}:{PB}", f"  http: {node.http}", f"  peer: {node.ip}:{PEER}",
                "threads:", f"  lanes: {self.lanes}", "limits:", f"  disk-reserve: {RESERVE_BYTES}", *self.settings, ""]))

    # --- Members ---

    def add(self, member):
        """A new node, which asks a member to be let in."""
        self.last_number += 1
        node = Node(self.last_number, self.folder)
        node.joins = member, self.command(member, "token").strip()
        self.make(node, declared=())
        self.nodes = self.nodes + [node]
        self.start([node])
        return node

    def forget(self, node):
        """It belongs to the cluster no longer, but may still run."""
        self.nodes = [other for other in self.nodes if other is not node]

    def scrap(self, node):
        """It does not run, and all but its log goes."""
        run("ip", "netns", "delete", node.name)
        shutil.rmtree(node.disk)

    def command(self, node, *arguments, seconds=COMMAND_SECONDS):
        """What `torc cluster …` prints, asked of a node."""
        done = subprocess.run([self.torc, "cluster", *arguments, "--http", node.http], capture_output=True, text=True,
                              timeout=seconds)
        if done.returncode != 0:
            raise ClusterFailure(f"torc cluster {' '.join(arguments)}, asked of {node.name}: "
                                 f"{(done.stdout + done.stderr).strip()}")
        return done.stdout

    # --- Processes ---

    def start(self, nodes, wait=True):
        for node in nodes:
            if not node.runs:
                flags = []
                if node.joins is not None and not self.has_data(node):
                    member, token = node.joins
                    flags = ["--join", member.http, "--token", token]
                with open(node.log, "ab") as log:
                    node.process = subprocess.Popen(
                        node.inside(node.torc or self.torc, "serve", "--config", node.config, *flags), env=self.environment,
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            for node in nodes:
                if not self.wait_until_serving(node):
                    raise ClusterFailure(f"{node.name} ended at its start, status {node.process.returncode}: "
                                         f"{self.last_words(node)}")

    def wait_until_serving(self, node, seconds=START_SECONDS):
        """False when it ended instead."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not node.runs:
                return False
            try:
                self.http(node, "/ping", seconds=2)
                return True
            except OSError:
                time.sleep(0.05)
        raise ClusterFailure(f"{node.name} does not answer {seconds} s after its start")

    def last_words(self, node):
        lines = [line for line in node.log_since(0).splitlines() if line.strip()]
        bad = [line for line in lines[-20:] if line.startswith(("CRITICAL", "ERROR")) or "torc:" in line or "Assertion" in line]
        return (bad or lines or ["nothing in its log"])[-1][:500]

    def kill(self, node):
        node.process.kill()
        node.process.wait(STOP_SECONDS)

    def stop(self, node):
        node.process.terminate()
        try:
            node.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ClusterFailure(f"{node.name} does not stop within {STOP_SECONDS} s of SIGTERM")

    def wait_until_ended(self, node, seconds):
        try:
            node.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def wipe(self, node):
        shutil.rmtree(node.data)

    @staticmethod
    def has_data(node):
        return os.path.exists(node.data)

    # --- The network ---

    def cut(self, deaf):
        """`deaf` maps a node to the nodes that it does not hear from now on."""
        for node, unheard in deaf.items():
            if unheard:
                rules = (f"add table inet cut; flush table inet cut; add chain inet cut in "
                         f"{{ type filter hook input priority 0; }}; "
                         f"add rule inet cut in ip saddr {{ {', '.join(other.ip for other in unheard)} }} drop")
                run(*node.inside("nft", rules))
        self.cut_now = True

    def heal(self):
        for node in self.nodes:
            run(*node.inside("nft", "add table inet cut; delete table inet cut"))
        self.cut_now = False

    # --- Asking the nodes ---

    def http(self, node, path, seconds=10):
        with OPENER.open(f"http://{node.http}{path}", timeout=seconds) as answer:
            return answer.read()

    def json(self, node, path):
        return json.loads(self.http(node, path))

    def repair(self, node, seconds):
        """Whether every pair was compared, how many keys differed, and the command's own words."""
        try:
            done = subprocess.run([self.torc, "cluster", "repair", "--wait", "--http", node.http,
                                   "--timeout", str(int(seconds))],
                                  capture_output=True, text=True, timeout=seconds + 10)
        except subprocess.TimeoutExpired:
            return False, None, f"no answer within {seconds + 10:.0f} s"
        words = (done.stdout + done.stderr).strip()
        numbers = [int(word) for word in words.replace(",", "").split() if word.isdigit()]
        return done.returncode == 0, numbers[2] if len(numbers) > 2 else None, words

    def hints_held(self):
        """Over all nodes; None when one does not answer."""
        try:
            return sum(self.json(node, "/stats")["hints_held"] for node in self.nodes)
        except OSError:
            return None

    def all_see_all(self):
        """Every node holds every member alive and linked."""
        try:
            return all(member["state"] == "alive" and member["link"] in ("up", "self")
                       for node in self.nodes for member in self.json(node, "/admin/cluster/status")["members"])
        except OSError:
            return False


def wait_for(condition, seconds, every=0.2):
    """Seconds until it held, or None."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(every)
    return None
