"""Elements added to shared sets, through one partition after another, and how many of those acknowledged are lost.

The question that Jepsen asks of stores that stay writable on both sides: clients on either side read a set, add an
element of their own and write it back, with r = w = 1, so that a side of a single node goes on. With siblings and
contexts none may be lost; with last-write-wins, for comparison, one side's are.
"""
import json, os, random, time, urllib.request

from faults import Chaos
from isolated_cluster import OPENER, ClusterFailure, IsolatedCluster, wait_for
from recorded_load import CLIENT_SECONDS, OK, History, Load
from replica_check import BUCKET, COPIES, become_equal, check_load, differ, read_replicas
from riak_wire import Client

CLIENTS, SETS = 10, 4
SPREAD_SECONDS = 20           # until all nodes know the bucket's properties


def partitioned_sets(options, folder, report):
    rng = random.Random(options.seed)
    history = History(os.path.join(folder, "calls.jsonl"))
    cluster = IsolatedCluster(folder, options.torc, 5)
    cluster.start(cluster.nodes)
    if options.lww:
        make_lww(cluster)
    load = Load(lambda node: Client(node.address, BUCKET, CLIENT_SECONDS, quorum=1), cluster.nodes, writers=CLIENTS,
                seed=options.seed, registers=1, sets=SETS, rate=options.rate, history=history, only_adds=True)
    faults = Chaos(cluster, load, report, rng, longest=10, small_disk=1, folder=folder, bucket=BUCKET)
    load.start()
    time.sleep(2)
    faults.run(options.minutes * 60, ["cut", "one-way cut"])
    time.sleep(0.5)
    load.stop(CLIENT_SECONDS * 4)
    check_load(load, report)
    become_equal(cluster, report)
    sets = [made for made in load.objects.values() if made.key in load.touched]
    copies, _ = read_replicas(cluster, sorted(made.key for made in sets))
    unequal = [key for key, held in copies.items() if len(held) != COPIES or differ(held)]
    report.line("check", "every set on 3 nodes, all equal", f"{len(unequal)} are not: {unequal[:3]}" if unequal else None,
                f"{len(sets)} sets, at most {max(made.siblings_seen for made in sets)} siblings at once")
    acknowledged = lost = 0
    for made in sets:
        there = made.merged([value for values, _ in copies[made.key].values() for value in values])
        standing = [element for element, outcome in made.elements.items() if outcome == OK]
        acknowledged += len(standing)
        lost += sum(element not in there for element in standing)
    words = (f"{acknowledged} acknowledged, {adds_within(history, faults.cuts)} of them during a cut: {lost} lost, "
             f"{lost / max(acknowledged, 1):.2%}")
    report.line("check", "elements lost" if options.lww else "no acknowledged element is lost",
                words if lost and not options.lww else None, words + (", with last-write-wins" if options.lww else ""))
    history.close()
    for node in cluster.nodes:
        cluster.stop(node)


def make_lww(cluster):
    path = f"/buckets/{BUCKET.decode()}/props"
    request = urllib.request.Request(f"http://{cluster.nodes[0].http}{path}", method="PUT",
                                     data=json.dumps({"props": {"last_write_wins": True}}).encode(),
                                     headers={"Content-Type": "application/json"})
    OPENER.open(request, timeout=10).close()

    def known():
        return all(cluster.json(node, path)["props"]["last_write_wins"] for node in cluster.nodes)
    if wait_for(known, SPREAD_SECONDS) is None:
        raise ClusterFailure(f"not every node knows the bucket's properties after {SPREAD_SECONDS} s")


def adds_within(history, cuts):
    with history.lock:
        history.file.flush()
    with open(history.path) as f:
        calls = (json.loads(line) for line in f)
        times = [call["to"] + history.start for call in calls if call["call"] == "add" and call["outcome"] == OK]
    return sum(any(begin <= at <= end for begin, end in cuts) for at in times)
