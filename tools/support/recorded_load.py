"""A load whose every call and answer is recorded, and what must stand after it.

Writers insert fresh keys, overwrite and delete shared ones with contexts, and add elements to shared sets whose
siblings they merge. The model knows values alone: a write's context is, to it, the values that the read showed
from which the context came. So it follows from the record what must stand, what may, and what may not, whatever
the server's clocks say. Values are unique.
"""
import collections, json, random, threading, time

from riak_wire import ErrorAnswer, Unanswered

OK, INDETERMINATE, REFUSED, NOT_SENT, FAILED = "ok", "indeterminate", "refused", "not sent", "failed"
CLIENT_SECONDS = 4            # that a client waits for one answer
# A writer leaves a node alone for so long after it did not answer; else all writers soon wait for the one that hangs.
SHUN_SECONDS = 2
# A register takes so many writes, a set so many elements; then a new key takes its place.
REGISTER_WRITES = 25
SET_ELEMENTS = 300


def outcome_of(error):
    """Refused is the server's promise that nothing was written anywhere."""
    text = str(error)
    unsure = isinstance(error, Unanswered) or text.startswith("indeterminate") or text == "timeout"
    return INDETERMINATE if unsure else REFUSED


class History:
    """Every call and its answer, a JSON line each; without a path nothing is kept."""

    def __init__(self, path=None):
        self.path = path
        self.file = open(path, "w", buffering=1 << 16) if path else None
        self.lock = threading.Lock()
        self.start = time.monotonic()
        self.counts = collections.Counter()
        self.failures = []       # (when it ended, how long it took, call, address, text)
        self.slowest = 0.0

    def add(self, began, writer, address, call, key, value, seen, outcome, text=""):
        ended = time.monotonic()
        self.counts["read " + outcome if call == "get" else outcome] += 1
        self.slowest = max(self.slowest, ended - began)
        if outcome not in (OK, NOT_SENT):
            self.failures.append((ended, ended - began, call, address, f"{outcome}: {text}"))
        if self.file is None:
            return
        line = json.dumps({
            "from": round(began - self.start, 4), "to": round(ended - self.start, 4), "writer": writer,
            "node": address[0] + ":" + str(address[1]), "call": call, "key": key.decode(),
            "value": None if value is None else value[:80].decode(errors="replace"),
            "seen": [v[:80].decode(errors="replace") for v in seen], "outcome": outcome, "text": text})
        with self.lock:
            if not self.file.closed:
                self.file.write(line + "\n")

    def of(self, key):
        """The lines of one key."""
        if self.file is None:
            return []
        with self.lock:
            self.file.flush()
        with open(self.path) as f:
            return [line.rstrip() for line in f if json.loads(line)["key"] == key]

    def close(self):
        with self.lock:
            if self.file is not None:
                self.file.close()


# --- What must stand ---

Operation = collections.namedtuple("Operation", "value seen outcome")   # value None: a delete


class Register:
    """A key and all that was done to it."""

    def __init__(self, key):
        self.key = key
        self.operations = []
        self.tried = set()       # values, before they are asked for

    def strangers(self, values):
        """What a read shows that nobody ever tried to write."""
        return set(values) - self.tried

    def check(self, values, repeats=False):
        """(kind, text) of each broken promise, given what stands. `repeats`: a client wrote again what it had no
        answer for, so that a value may stand twice."""
        name, standing, wrong = self.key.decode(), set(values), []
        written = {o.value: o for o in self.operations if o.value is not None}
        covering = collections.defaultdict(list)
        for operation in self.operations:
            if operation.outcome != REFUSED:
                for value in operation.seen:
                    covering[value].append(operation)

        def accounted(operation):
            """It may be gone: a delete, or a value that stands or that something accounted for may have replaced."""
            return operation.value is None or operation.value in standing or any(
                c.outcome == OK or accounted(c) for c in covering[operation.value])

        if len(values) != len(standing) and not repeats:
            wrong.append(("invented", f"{name}: a value stands twice: {values}"))
        for value in sorted(standing):
            if value not in written:
                wrong.append(("invented", f"{name}: {value[:60]} was never written"))
            elif written[value].outcome == REFUSED:
                wrong.append(("invented", f"{name}: {value[:60]} was refused and is there"))
            for by in covering[value]:
                if by.outcome == OK:
                    how = "deleted" if by.value is None else "replaced"
                    wrong.append(("returned", f"{name}: {value[:60]} was {how} and is back"))
                    break
        for value, operation in written.items():
            if operation.outcome == OK and not accounted(operation):
                wrong.append(("lost", f"{name}: {value[:60]} was acknowledged and is lost; there is {sorted(standing)}"))
        return wrong

    @property
    def deleted(self):
        return any(o.value is None and o.outcome == OK for o in self.operations)


class ElementSet:
    """A key to which many clients add unique elements, each merging the siblings that it reads."""

    def __init__(self, key):
        self.key = key
        self.elements = {}       # element: outcome
        self.siblings_seen = 0

    @staticmethod
    def merged(values):
        return {element for value in values for element in value.split()}

    def strangers(self, values):
        return self.merged(values) - self.elements.keys()

    def check(self, values, repeats=False):
        name, there, wrong = self.key.decode(), self.merged(values), []
        lost = sorted(e for e, outcome in self.elements.items() if outcome == OK and e not in there)
        refused = sorted(e for e in there if self.elements.get(e) == REFUSED)
        unknown = sorted(there - self.elements.keys())
        if lost:
            wrong.append(("lost", f"{name}: {len(lost)} acknowledged elements are lost: {lost[:10]}"))
        if refused or unknown:
            wrong.append(("invented", f"{name}: refused {refused[:10]}, unknown {unknown[:10]}"))
        return wrong


# --- Who writes ---

class Load:
    """Writers and all that they write."""

    def __init__(self, make_client, nodes, writers, seed, registers, sets=0, rate=None, history=None,
                 prefix=b"", only_adds=False):
        """make_client(node) makes a client, for each writer one; `rate` is steps a second over all writers, None: as
        fast as it goes; `prefix` tells the keys of one load from those of another; `only_adds`: to the sets."""
        self.prefix = prefix
        self.objects = {}
        self.only_adds = only_adds
        self.nodes = list(nodes)
        self.make_client = make_client
        self.history = history or History()
        self.lock = threading.Lock()
        self.registers = [self.fresh(b"register-%d", Register) for _ in range(registers)]
        self.sets = [self.fresh(b"set-%d", ElementSet) for _ in range(sets)]
        self.touched = set()
        self.problems = []
        self.stopping = threading.Event()
        interval = writers / rate if rate else 0
        self.writers = [Writer(self, k, seed * 1000 + k, interval) for k in range(writers)]
        self.threads = []

    def fresh(self, pattern, kind):
        with self.lock:
            made = kind(self.prefix + pattern % len(self.objects))
            self.objects[made.key] = made
            return made

    # Writers see one list or the other, never one in the making.
    def admit(self, node):
        self.nodes = self.nodes + [node]

    def dismiss(self, node):
        self.nodes = [other for other in self.nodes if other is not node]

    def start(self):
        self.stopping.clear()
        self.threads = [threading.Thread(target=writer.run, daemon=True) for writer in self.writers]
        for thread in self.threads:
            thread.start()

    def stop(self, seconds):
        self.stopping.set()
        until = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self.threads):
            self.problems.append(f"a writer does not end within {seconds} s")

    @property
    def acknowledged(self):
        return sum(writer.acknowledged for writer in self.writers)


class Writer:
    def __init__(self, load, number, seed, interval):
        self.load = load
        self.number = number
        self.random = random.Random(seed)
        self.clients = {}        # node: client
        self.shunned = {}        # client: until when
        self.interval = interval
        self.made = 0
        self.acknowledged = 0

    def run(self):
        while not self.load.stopping.is_set():
            began = time.monotonic()
            clients = [self.client(node) for node in self.load.nodes]
            client = self.random.choice([c for c in clients if self.shunned.get(c, 0) < began] or clients)
            try:
                self.step(client)
            except OSError:   # nothing was sent
                self.shun(client)
                time.sleep(0.02)
            except Exception as error:   # a bug of the test must not pass for a quiet writer
                self.load.problems.append(f"writer {self.number}: {type(error).__name__}: {error}")
                return
            pause = self.interval * self.random.uniform(0.5, 1.5) - (time.monotonic() - began)
            if pause > 0:
                time.sleep(pause)

    def client(self, node):
        if node not in self.clients:
            self.clients[node] = self.load.make_client(node)
        return self.clients[node]

    def shun(self, client):
        self.shunned[client] = time.monotonic() + SHUN_SECONDS

    def step(self, client):
        dice = 1.0 if self.load.only_adds else self.random.random()
        if dice < 0.4:
            self.insert(client)
        elif dice < 0.8 or not self.load.sets:
            self.overwrite(client, self.random.randrange(len(self.load.registers)))
        else:
            self.add(client, self.random.randrange(len(self.load.sets)))

    def unique(self):
        self.made += 1
        return b"%d.%d" % (self.number, self.made)

    def insert(self, client):
        size = self.random.choice((10, 100, 1000))
        value = b"%s:%s" % (self.unique(), b"%x" % self.random.getrandbits(4 * size))
        self.write(client, self.load.fresh(b"insert-%d", Register), value, ())

    def overwrite(self, client, slot):
        register = self.load.registers[slot]
        read = self.read(client, register)
        if read is None:
            return
        values, context = read
        # A quorum read may miss what stands elsewhere, so only what it saw counts as replaced.
        if values and self.random.random() < 0.15:
            self.write(client, register, None, values, context)
        else:
            self.write(client, register, self.unique(), values, context)
        if len(register.operations) > REGISTER_WRITES and self.load.registers[slot] is register:
            # Half of them end deleted, and must stay so.
            if self.random.random() < 0.5:
                read = self.read(client, register)
                if read is not None and read[0]:
                    self.write(client, register, None, *read)
            self.load.registers[slot] = self.load.fresh(b"register-%d", Register)

    def add(self, client, slot):
        target = self.load.sets[slot]
        read = self.read(client, target)
        if read is None:
            return
        values, context = read
        target.siblings_seen = max(target.siblings_seen, len(values))
        element = self.unique()
        merged = b" ".join(sorted(target.merged(values) | {element}))
        # Known before it is asked for: another writer may carry it on at once.
        target.elements[element] = INDETERMINATE
        outcome = self.ask(client, "add", target.key, element, values, lambda: client.put(target.key, merged, context))
        target.elements[element] = outcome or REFUSED
        if len(target.elements) > SET_ELEMENTS and self.load.sets[slot] is target:
            self.load.sets[slot] = self.load.fresh(b"set-%d", ElementSet)

    def read(self, client, target):
        began, key = time.monotonic(), target.key
        try:
            values, context = client.get(key)
        except (Unanswered, ErrorAnswer) as error:
            self.load.history.add(began, self.number, client.address, "get", key, None, (), FAILED, str(error))
            if isinstance(error, Unanswered):
                self.shun(client)
            return None
        self.load.history.add(began, self.number, client.address, "get", key, None, values, OK)
        strangers = target.strangers(values)
        if strangers:
            self.load.problems.append(f"{key.decode()}: a read at {client.address[0]} shows what nobody wrote: "
                                      f"{sorted(strangers)[:3]}")
        return values, context

    def write(self, client, register, value, seen, context=None):
        if value is None:
            outcome = self.ask(client, "delete", register.key, None, seen, lambda: client.delete(register.key, context))
        else:
            register.tried.add(value)
            outcome = self.ask(client, "put", register.key, value, seen,
                               lambda: client.put(register.key, value, context))
        if outcome is not None:
            register.operations.append(Operation(value, frozenset(seen), outcome))

    def ask(self, client, call, key, value, seen, operation):
        """The outcome, recorded; None when no connection could be made."""
        self.load.touched.add(key)
        began, text = time.monotonic(), ""
        try:
            operation()
            outcome = OK
            self.acknowledged += 1
        except (Unanswered, ErrorAnswer) as error:
            outcome, text = outcome_of(error), str(error)
            if isinstance(error, Unanswered):
                self.shun(client)
        except OSError as error:
            self.load.history.add(began, self.number, client.address, call, key, value, (), NOT_SENT, str(error))
            self.shun(client)
            return None
        self.load.history.add(began, self.number, client.address, call, key, value, seen, outcome, text)
        return outcome
