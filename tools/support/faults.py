"""What can happen to nodes, one fault after another, drawn from a seed; and what each must lead to.

Some faults take away a copy of what a node holds. Two copies acknowledge a write, so before another is taken all hints
must have drained and all replicas been compared: one copy of everything is left at any time. Changes of the members are in
member_faults.py.
"""
import collections, os, signal, subprocess, time

from isolated_cluster import RESERVE_BYTES, ClusterFailure, wait_for
from member_faults import MemberFaults
from riak_wire import Client, ErrorAnswer, Unanswered

PROBES = b"chaos-probes"      # a bucket that the record does not know
PROBE_KEYS = 12               # a node sends on what is not its own: of so many keys some are
DISK_SEEN_SECONDS = 10        # until a node knows what space it has

HINTS_SECONDS = 120           # until no hint is left
REPAIR_SECONDS = 120          # until every pair of replicas was compared
ENDS_ITSELF_SECONDS = 20      # after a failed sync
STORAGE_EXIT = 74


# --- Faults ---

class Chaos:
    def __init__(self, cluster, load, report, rng, longest, small_disk, folder, bucket):
        self.cluster, self.load, self.report, self.rng = cluster, load, report, rng
        self.longest = longest
        self.small_disk = cluster.nodes[small_disk - 1]
        self.folder = folder
        self.one_copy_gone = False
        self.repairs_repeated = 0
        self.probes = 0
        self.cuts = []           # (from when, to when)
        self.faults = {
            "kill": self.kill, "kill two": self.kill_two, "pause": self.pause, "cut": self.cut,
            "one-way cut": self.one_way_cut, "wipe": self.wipe, "full disk": self.full_disk,
            "sync error": self.sync_error, "damaged table": self.damaged_table, "damaged log": self.damaged_log}
        self.members = MemberFaults(self, bucket)
        self.faults.update(self.members.faults)
        self.struck = collections.Counter()

    def words(self, node):
        """What it said last, without level, time and the paths of this run."""
        said = self.cluster.last_words(node).replace(self.folder + "/", "").split("Z ", 1)[-1]
        return said if len(said) <= 120 else said[:120] + "…"

    def names(self, nodes):
        return " ".join(node.name for node in nodes)

    def rest(self, least, most):
        time.sleep(self.rng.uniform(least, min(most, max(least, self.longest))))

    def run(self, seconds, kinds):
        until, deck = time.monotonic() + seconds, []
        while time.monotonic() < until:
            deck = deck or self.deck(kinds)
            kind = deck.pop(0)
            before, problem, detail, subject = self.load.acknowledged, None, "", ""
            try:
                subject, detail = self.faults[kind]()
            except (ClusterFailure, OSError, subprocess.SubprocessError) as error:
                problem = str(error)
            finally:
                if self.cluster.cut_now:
                    self.cluster.heal()
            self.rest(0.3, 2)
            problem = problem or self.unexpected_ends()
            acknowledged = self.load.acknowledged - before
            if problem is None and acknowledged == 0:
                problem = "nothing was acknowledged meanwhile"
            self.report.line(kind, subject, problem, f"{acknowledged:5d} acknowledged; {detail}")
            self.struck[kind] += 1
            if problem is not None:
                return

    def deck(self, kinds):
        """Each once; the second, and from there every third, changes the members while such are left."""
        changes = [kind for kind in kinds if kind in self.members.faults]
        others = [kind for kind in kinds if kind not in self.members.faults]
        changes, others = self.rng.sample(changes, len(changes)), self.rng.sample(others, len(others))
        drawn = []
        while changes or others:
            drawn.append((changes if changes and (len(drawn) % 3 == 1 or not others) else others).pop())
        return drawn

    def unexpected_ends(self):
        for node in self.cluster.nodes:
            if not node.runs:
                return f"{node.name} ended by itself, status {node.process.returncode}: {self.cluster.last_words(node)}"
        return None

    def kill(self, count=1):
        victims = self.rng.sample(self.cluster.nodes, count)
        for node in victims:
            self.cluster.kill(node)
        self.rest(0.2, 6)
        self.cluster.start(victims)
        return self.names(victims), ""

    def kill_two(self):
        return self.kill(2)

    def pause(self):
        victims = self.rng.sample(self.cluster.nodes, self.rng.choice((1, 1, 2)))
        for node in victims:
            node.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        self.rest(1, 20)
        for node in victims:
            node.process.send_signal(signal.SIGCONT)
        return self.names(victims), f"stopped for {time.monotonic() - began:.1f} s"

    def split(self):
        nodes = self.rng.sample(self.cluster.nodes, len(self.cluster.nodes))
        size = self.rng.randrange(1, len(nodes) // 2 + 1)
        return nodes[:size], nodes[size:]

    def cut(self):
        few, many = self.split()
        self.cluster.cut({node: many for node in few} | {node: few for node in many})
        began = time.monotonic()
        self.rest(2, 15)
        self.cuts.append((began, time.monotonic()))
        self.cluster.heal()
        return f"{self.names(few)} | the others", f"cut for {time.monotonic() - began:.1f} s"

    def one_way_cut(self):
        few, many = self.split()
        deaf, unheard = (few, many) if self.rng.random() < 0.5 else (many, few)
        self.cluster.cut({node: unheard for node in deaf})
        began = time.monotonic()
        self.rest(2, 15)
        self.cuts.append((began, time.monotonic()))
        self.cluster.heal()
        subject = f"{self.names(few)} " + ("deaf to the others" if deaf is few else "not heard")
        return subject, f"cut for {time.monotonic() - began:.1f} s"

    def before_taking_a_copy(self):
        """Two copies acknowledge a write. If one was taken, all must be whole again before the next is."""
        self.members.settle()
        if self.one_copy_gone:
            if wait_for(lambda: self.cluster.hints_held() == 0, HINTS_SECONDS) is None:
                raise ClusterFailure(f"{self.cluster.hints_held()} hints are left {HINTS_SECONDS} s after healing")
            for node in self.cluster.nodes:
                self.repair(node)
        self.one_copy_gone = True

    def repair(self, node):
        """How many keys differed. Links that a cut has just broken may cost a comparison; then one asks again."""
        until, differed = time.monotonic() + REPAIR_SECONDS, 0
        while True:
            compared, found, words = self.cluster.repair(node, REPAIR_SECONDS)
            differed += found or 0
            if compared:
                return differed
            if time.monotonic() > until:
                raise ClusterFailure(f"repair at {node.name} is incomplete after {REPAIR_SECONDS} s: {words}")
            self.repairs_repeated += 1
            time.sleep(0.5)

    def company(self, victim):
        """While the victim is away another node may be, too."""
        if self.rng.random() < 0.4:
            other = self.rng.choice([node for node in self.cluster.nodes if node is not victim])
            self.cluster.kill(other)
            return [other]
        return []

    def replaced_disk(self, node):
        """What an operator does with a damaged folder. Of who has joined it alone says who that was."""
        self.cluster.wipe(node)
        if node.joins is not None:
            return self.members.replaced(node)
        self.cluster.start([node])
        began = time.monotonic()
        differed = self.repair(node)
        return f"{differed} keys repaired in {time.monotonic() - began:.1f} s"

    def wipe(self):
        self.before_taking_a_copy()
        victim = self.rng.choice(self.cluster.nodes)
        (self.cluster.kill if self.rng.random() < 0.5 else self.cluster.stop)(victim)
        others = self.company(victim)
        self.rest(0.2, 4)
        self.cluster.start(others)
        detail = self.replaced_disk(victim)
        return self.names([victim]) + (f" (and {self.names(others)} killed)" if others else ""), detail

    def expect_end(self, node, seconds, why):
        if not self.cluster.wait_until_ended(node, seconds):
            raise ClusterFailure(f"{node.name} goes on {seconds} s after {why}")
        self.expect_storage_exit(node, why)

    def expect_storage_exit(self, node, why):
        if node.process.returncode != STORAGE_EXIT:
            raise ClusterFailure(f"{node.name} ended with status {node.process.returncode} after {why}, not "
                                 f"{STORAGE_EXIT}: {self.cluster.last_words(node)}")

    def takes_writes(self, node):
        client = Client(node.address, PROBES, seconds=2)
        try:
            for _ in range(PROBE_KEYS):
                self.probes += 1
                client.put(b"probe-%d" % self.probes, b"1")
            return True
        except (OSError, Unanswered):
            return None
        except ErrorAnswer as error:
            return False if "disk" in str(error) else None
        finally:
            client.close()

    def full_disk(self):
        node = self.small_disk
        ballast = os.path.join(node.disk, "ballast")
        try:
            with open(ballast, "wb") as f:
                fill(f, node.disk, RESERVE_BYTES // 2)
                refused = wait_for(lambda: self.takes_writes(node) is False, DISK_SEEN_SECONDS)
                if refused is None:
                    raise ClusterFailure(f"{node.name} does not refuse writes with half its reserve left")
                detail = f"refused clients after {refused:.1f} s; "
                detail += "then there was space" if self.rng.random() < 0.4 else self.not_a_byte_left(node, f)
        finally:
            os.remove(ballast)
        self.cluster.start([node])
        again = wait_for(lambda: self.takes_writes(node), DISK_SEEN_SECONDS)
        if again is None:
            raise ClusterFailure(f"{node.name} takes no writes {DISK_SEEN_SECONDS} s after its disk has space again")
        return node.name, f"{detail}; took writes again after {again:.1f} s"

    def not_a_byte_left(self, node, ballast):
        """It may go on; if it ends, it must say why."""
        detail = ""
        fill(ballast, node.disk)
        ended = self.cluster.wait_until_ended(node, min(4, self.longest))
        if not ended:
            # A start needs room for a new log.
            self.cluster.kill(node)
            fill(ballast, node.disk)
            self.cluster.start([node], wait=False)
            ended = not self.cluster.wait_until_serving(node)
            detail = "started again without a byte, "
        if not ended:
            fill(ballast, node.disk)
            ended = self.cluster.wait_until_ended(node, min(3, self.longest))
        if not ended:
            return detail + "went on"
        words = self.cluster.last_words(node)
        if node.process.returncode == -signal.SIGABRT and "rocksdb::" in words:
            # It ends in time, and says less than it should: an assertion in the library comes first.
            return detail + "ended by RocksDB's assertion"
        self.expect_storage_exit(node, "its disk was full")
        if "full" not in words and "space" not in words:
            raise ClusterFailure(f"{node.name} does not say that its disk is full: {words}")
        return detail + f"ended itself: {self.words(node)}"

    def sync_error(self):
        # Who leaves is given nothing to sync any more, once it has.
        leaving = self.members.moving.leaving if self.members.moving else ()
        node = self.rng.choice([node for node in self.cluster.nodes if node not in leaving])
        trace = os.path.join(self.folder, "strace.log")
        strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-tt", "-p", str(node.process.pid), "-o", trace, "-e", "trace=fdatasync",
             "-e", f"inject=fdatasync:error=EIO:when={self.rng.randrange(1, 60)}+"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.expect_end(node, ENDS_ITSELF_SECONDS, "fdatasync failed")
        finally:
            strace.kill()
            said = strace.communicate()[1].decode(errors="replace").strip()
            with open(trace, errors="replace") as f:
                failed = sum("INJECTED" in line for line in f)
            os.remove(trace)
        if not failed:
            raise ClusterFailure(f"no sync was made to fail: {said}")
        words = self.words(node)
        self.rest(0.2, 3)
        self.cluster.start([node])
        return node.name, f"ended itself after {failed} failed: {words}"

    def flip(self, path):
        size = os.path.getsize(path)
        with open(path, "r+b") as f:
            for _ in range(self.rng.choice((1, 3, 20))):
                at = self.rng.randrange(size)
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ 1 << self.rng.randrange(8)]))

    def files(self, node, suffix):
        folder = os.path.join(node.data, "db")
        found = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(suffix))
        return [path for path in found if os.path.getsize(path) > 0]

    def damaged_table(self):
        self.before_taking_a_copy()
        node = self.rng.choice(self.cluster.nodes)
        self.cluster.kill(node)
        if not self.files(node, ".sst"):
            self.cluster.start([node])   # a start writes what the log held into tables
            self.cluster.stop(node)
        tables = self.files(node, ".sst")
        if not tables:
            self.cluster.start([node])
            return node.name, "it has no table yet"
        for path in self.rng.sample(tables, min(len(tables), 5)):
            self.flip(path)
        self.cluster.start([node], wait=False)
        if self.cluster.wait_until_serving(node):
            # It may serve what it can read, and must show nothing else; the record's check sees to that.
            self.rest(2, 6)
            unreadable = self.cluster.json(node, "/stats")["unreadable_records"] if node.runs else "?"
            if node.runs:
                detail = f"served, {unreadable} records unreadable"
                self.cluster.kill(node)
            else:
                self.expect_storage_exit(node, "a table was damaged")
                detail = f"ended itself: {self.words(node)}"
        else:
            self.expect_storage_exit(node, "a table was damaged")
            detail = f"refused to serve: {self.words(node)}"
        return node.name, f"{detail}; {self.replaced_disk(node)}"

    def damaged_log(self):
        self.before_taking_a_copy()
        node = self.rng.choice(self.cluster.nodes)
        self.cluster.kill(node)
        logs = self.files(node, ".log")
        if not logs:
            self.cluster.start([node])
            return node.name, "it has no log yet"
        self.flip(self.rng.choice(logs))
        offset = node.log_size()
        self.cluster.start([node], wait=False)
        if self.cluster.wait_until_serving(node):
            found = [line for line in node.log_since(offset).splitlines() if "found=" in line]
            said = found[0].split('found="')[-1].split('"')[0] if found else "?"
            return node.name, f"served: {said}"
        self.expect_storage_exit(node, "its log was damaged")
        words = self.words(node)
        return node.name, f"refused to serve: {words}; {self.replaced_disk(node)}"


def fill(file, disk, left=0):
    """Takes what the disk has, to the last page or until `left` bytes."""
    file.seek(0, os.SEEK_END)
    while True:
        space = os.statvfs(disk)
        pages = space.f_bfree - left // space.f_bsize
        if pages <= 0:
            return
        try:
            os.posix_fallocate(file.fileno(), file.tell(), pages * space.f_bsize)
            file.seek(0, os.SEEK_END)
        except OSError:   # somebody took some meanwhile
            time.sleep(0.01)
