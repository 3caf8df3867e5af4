"""One of three nodes is away for a while: who notices, for how long, and when it is whole again."""
import json, os, random, subprocess, time

from isolated_cluster import PB, ClusterFailure, IsolatedCluster, wait_for
from recorded_load import CLIENT_SECONDS, History, Load
from replica_check import BUCKET, become_equal, check_all, check_load
from riak_wire import Client, ErrorAnswer, Unanswered

FAILURE_SECONDS = 2.0         # of quorum operations, after a node was killed
THROUGHPUT_SHARE = 0.6        # that remains without it
EQUAL_SECONDS = 120           # after its return


class RetryingClient:
    """Asks another node when one does not answer ok."""
    ATTEMPTS = 12

    def __init__(self, clients):
        self.clients = clients
        self.address = clients[0].address

    def attempt(self, operation):
        unsure, last = False, None
        for number in range(self.ATTEMPTS):
            try:
                return operation(self.clients[number % len(self.clients)])
            except Unanswered as error:
                unsure, last = True, error
            except ErrorAnswer as error:
                unsure, last = unsure or str(error).startswith("indeterminate"), error
            except OSError as error:
                last = error
            if number >= len(self.clients) - 1:
                time.sleep(0.1)
        raise Unanswered(str(last)) if unsure or isinstance(last, OSError) else last

    def get(self, key):
        return self.attempt(lambda client: client.get(key))

    def put(self, key, value, context=None):
        return self.attempt(lambda client: client.put(key, value, context))

    def delete(self, key, context):
        return self.attempt(lambda client: client.delete(key, context))


def throughput(cluster, nodes, seed):
    """The better of two: other work on the machine only ever takes away."""
    return max((closed_loop(cluster, nodes, seed) for _ in range(2)), key=lambda measured: measured["perSecond"])


def closed_loop(cluster, nodes, seed):
    """Operations a second, half reads, and errors."""
    done = subprocess.run(
        [cluster.torc, "bench", "load", "--targets", ",".join(f"{node.ip}:{PB}" for node in nodes),
         "--connections", "48", "--read-share", "0.5", "--keys", "5000", "--duration", "5", "--warmup", "1",
         "--seed", str(seed), "--json", "-"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise ClusterFailure(f"torc bench load: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def outage(options, folder, report):
    rng = random.Random(options.seed)
    cluster = IsolatedCluster(folder, options.torc, 3)
    cluster.start(cluster.nodes)
    victim = rng.choice(cluster.nodes)
    left = [node for node in cluster.nodes if node is not victim]
    full = throughput(cluster, cluster.nodes, options.seed)["perSecond"]

    history, retried = History(os.path.join(folder, "calls.jsonl")), History(os.path.join(folder, "retried.jsonl"))
    plain_load = Load(lambda node: Client(node.address, BUCKET, CLIENT_SECONDS), cluster.nodes, writers=8,
                      seed=options.seed, registers=40, rate=options.rate / 2, history=history)

    def retrying(first):
        at = cluster.nodes.index(first)
        return RetryingClient([Client(node.address, BUCKET, CLIENT_SECONDS)
                               for node in cluster.nodes[at:] + cluster.nodes[:at]])
    retrying_load = Load(retrying, cluster.nodes, writers=8, seed=options.seed + 1, registers=40,
                         rate=options.rate / 2, history=retried, prefix=b"retried-")
    loads = [plain_load, retrying_load]
    for load in loads:
        load.start()
    time.sleep(5)
    before = sum(load.acknowledged for load in loads)
    for kept in (history, retried):
        kept.slowest = 0.0
        kept.failures.clear()
    killed = time.monotonic()
    cluster.kill(victim)
    time.sleep(15)
    slowest = history.slowest, retried.slowest

    last = max((ended - killed for ended, *_ in history.failures), default=0.0)
    detail = f"{len(history.failures)} failed, the last {last:.2f} s after the kill; slowest {slowest[0] * 1000:.0f} ms"
    report.line("outage", "operations fail for at most 2 s", None if last <= FAILURE_SECONDS else
                f"{detail}: {history.failures[-1][4]}", detail)
    detail = f"{len(retried.failures)} failed; slowest {slowest[1] * 1000:.0f} ms with its retries"
    report.line("outage", "none with a client that retries", None if not retried.failures else
                f"{detail}: {retried.failures[0]}", detail)
    rate = (sum(load.acknowledged for load in loads) - before) / 15
    # The closed loop has the machine to itself, as it had before.
    for load in loads:
        load.stop(CLIENT_SECONDS * 4)
    measured = throughput(cluster, left, options.seed)
    share = measured["perSecond"] / full
    detail = f"{measured['perSecond']:.0f} of {full:.0f} operations/s: {share:.0%}, {measured['errorCount']} errors"
    report.line("outage", "more than 60 % of the throughput", None if share > THROUGHPUT_SHARE else detail, detail)
    for load in loads:
        load.start()
    time.sleep(max(0, killed + options.minutes * 60 - time.monotonic()))

    failures = len(history.failures), len(retried.failures)
    missed = sum(len(load.objects) for load in loads)
    began = time.time()
    cluster.start([victim])
    back = time.monotonic()
    time.sleep(2)
    report.line("outage", "the rest of it", None if failures[1] == 0 else f"{failures[1]} failed with retries",
                f"{options.minutes:g} minutes, {rate:.0f} writes/s, {missed} keys and 5000 of the closed loop; "
                f"{failures[0]} and {failures[1]} failed")
    for load in loads:
        load.stop(CLIENT_SECONDS * 4)
    stopped = time.time()

    def equal():
        """No hint, and each pair was found equal by a comparison of the background's own that began after the load."""
        try:
            pairs = [pair for node in cluster.nodes for pair in cluster.json(node, "/admin/repair")["pairs"]]
            return cluster.hints_held() == 0 and all(
                (pair["last_completed"] or 0) > stopped + 1 and pair["last_differing_keys"] == 0 for pair in pairs)
        except OSError:
            return False

    found = wait_for(equal, EQUAL_SECONDS + 60, every=0.5)
    seconds = time.monotonic() - back
    totals = [cluster.json(node, "/admin/repair")["totals"] for node in cluster.nodes]
    differed = sum(total["differing_keys"] for total in totals)
    detail = (f"seen {seconds:.1f} s after it served again (its start took {back - killed - options.minutes * 60:.1f} s); "
              f"{differed} keys repaired")
    report.line("outage", "equal within 120 s of its return", None if found and seconds <= EQUAL_SECONDS else
                f"not equal: {detail}", detail)
    for load in loads:
        check_load(load, report)
    become_equal(cluster, report)
    check_all(cluster, loads, report, repeats=True)
    for node in cluster.nodes:
        cluster.stop(node)
