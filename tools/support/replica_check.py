"""What stands in the end, at every replica, against the record of what was asked for."""
import os, shutil, time

from faults import HINTS_SECONDS, REPAIR_SECONDS
from isolated_cluster import ClusterFailure, wait_for
from recorded_load import ElementSet
from riak_wire import Client, ErrorAnswer

BUCKET = b"chaos-test"
COPIES = 3
HEALED_SECONDS = 60           # until all nodes hold each other alive again
PRUNED_SECONDS = 15           # until repair has made a vector whole that some replicas had pruned, or all have


class Report:
    def __init__(self, folder):
        self.folder = folder
        self.began = time.monotonic()
        self.passed = self.failed = 0

    def line(self, kind, subject, problem, detail=""):
        self.passed, self.failed = self.passed + (problem is None), self.failed + (problem is not None)
        verdict = "ok" if problem is None else "FAILED"
        print(f"{time.monotonic() - self.began:6.1f} s  {kind:14s} {subject:32s} {verdict:6s}  "
              f"{detail if problem is None else problem}", flush=True)

    def keep(self, why):
        with open(os.path.join(self.folder, "keep"), "w") as f:
            f.write(why + "\n")

    def end(self, kept):
        if self.failed or kept:
            self.keep("kept for a look")
            # Folders of data say little afterwards and are large; logs, configurations and the record stay.
            for name in os.listdir(self.folder):
                path = os.path.join(self.folder, name)
                if os.path.isdir(path) and not os.path.ismount(path) and not kept:
                    shutil.rmtree(path, ignore_errors=True)
            print(f"logs and the record of all calls are in {self.folder}")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


# --- What stands in the end ---

def check_ring(cluster, members, report):
    """All nodes hold one ring, nothing moves, and nobody has records left that are others' now."""
    try:
        members.settle()
        problem = members.unsettled()
    except ClusterFailure as failure:
        problem = str(failure)
    epoch = (members.ring(cluster.nodes[0]) or {}).get("epoch")
    report.line("check", "one ring, nothing moves", problem, f"epoch {epoch}: {' '.join(n.name for n in cluster.nodes)}; "
                f"the longest move took {members.longest_move:.1f} s")

def become_equal(cluster, report):
    """By the nodes' own means: hints, then comparisons until a whole pass over all nodes finds nothing."""
    seconds = wait_for(cluster.all_see_all, HEALED_SECONDS)
    report.line("check", "all nodes see all alive", None if seconds is not None else f"not within {HEALED_SECONDS} s",
                f"after {seconds or 0:.1f} s")
    seconds = wait_for(lambda: cluster.hints_held() == 0, HINTS_SECONDS)
    report.line("check", "the hints drain", None if seconds is not None else
                f"{cluster.hints_held()} are left after {HINTS_SECONDS} s", f"after {seconds or 0:.1f} s")
    began, passes, first, problem = time.monotonic(), 0, 0, "?"
    while problem is not None and time.monotonic() < began + REPAIR_SECONDS:
        answers = [cluster.repair(node, REPAIR_SECONDS) for node in cluster.nodes]
        problem = next((words for compared, differed, words in answers if not compared or differed != 0), None)
        first = first if passes else sum(differed or 0 for _, differed, _ in answers)
        passes += 1
    report.line("check", "repair finds all replicas equal", problem,
                f"{first} keys differed, {passes} passes, {time.monotonic() - began:.1f} s")


def read_replicas(cluster, keys):
    """For each key {node name: (values, context)}, read while no node hears another. An ErrorAnswer of a node that is
    no primary of the key is none."""
    cluster.cut({node: [other for other in cluster.nodes if other is not node] for node in cluster.nodes})
    try:
        def alone():
            return all(member["link"] != "up" for node in cluster.nodes
                       for member in cluster.json(node, "/admin/cluster/status")["members"])
        if wait_for(alone, HEALED_SECONDS) is None:
            raise ClusterFailure(f"nodes that are cut off hold links for {HEALED_SECONDS} s")
        copies = {key: {} for key in keys}
        refusals = set()
        for node in cluster.nodes:
            client = Client(node.address, BUCKET, seconds=30)
            for at in range(0, len(keys), 200):
                some = keys[at:at + 200]
                for key, answer in zip(some, client.get_many(some, r=1, pr=1)):
                    if isinstance(answer, ErrorAnswer):
                        refusals.add(str(answer))
                    else:
                        copies[key][node.name] = (sorted(answer[0]), answer[1])
        return copies, refusals
    finally:
        cluster.heal()


def differ(held):
    """Whether replicas of a key do. Where a tombstone was reaped there is nothing, and others may be about to."""
    states = {(tuple(values), context) for values, context in held.values()}
    if not any(values for values, _ in states):
        states.discard(((), None))
    return len(states) > 1


def check_all(cluster, loads, report, repeats=False):
    keys = sorted(key for load in loads for key in load.objects)
    objects = {key: made for load in loads for key, made in load.objects.items()}
    began = time.monotonic()
    copies, refusals = read_replicas(cluster, keys)
    few = [key for key in keys if len(copies[key]) != min(COPIES, len(cluster.nodes))]
    unequal = [key for key in keys if differ(copies[key])]
    # A vector may have been about to be pruned when the nodes were cut off from each other: then a context differs and
    # the values do not, and a moment later neither does.
    pruning = [key for key in unequal if len({tuple(values) for values, _ in copies[key].values()}) == 1]
    if pruning and wait_for(cluster.all_see_all, HEALED_SECONDS) is not None:
        time.sleep(PRUNED_SECONDS)
        again, _ = read_replicas(cluster, pruning)
        unequal = [key for key in unequal if key not in again or differ(again[key])]
    for key in (few + unequal)[:10]:
        print(f"    {key.decode()}: " + "; ".join(
            f"{name} {[v[:40] for v in values]} context {(context or b'').hex()[:48]}"
            for name, (values, context) in sorted(copies[key].items())))
    problem = None
    if few:
        problem = f"{len(few)} keys are not on {COPIES} nodes; refusals: {sorted(refusals)[:5]}"
    elif unequal:
        problem = f"{len(unequal)} keys differ"
    # With pr = 1 only an owner by the ring that stands now answers.
    report.line("check", "every key on 3 nodes, all equal", problem,
                f"{len(keys)} keys at each of {len(cluster.nodes)} nodes, alone, {time.monotonic() - began:.1f} s")
    wrong = {"lost": [], "returned": [], "invented": []}
    wrong_sets = []
    for key in keys:
        for values, _ in copies[key].values():
            for kind, text in objects[key].check(values, repeats):
                (wrong_sets if isinstance(objects[key], ElementSet) else wrong[kind]).append((key, text))
            if key not in unequal:
                break
    plain = [made for made in objects.values() if not isinstance(made, ElementSet)]
    sets = [made for made in objects.values() if isinstance(made, ElementSet)]
    acknowledged = sum(o.outcome == "ok" for made in plain for o in made.operations)
    deletes = sum(o.outcome == "ok" and o.value is None for made in plain for o in made.operations)
    gone = sum(not copies[made.key] or not next(iter(copies[made.key].values()))[0] for made in plain)
    elements = sum(outcome == "ok" for made in sets for outcome in made.elements.values())
    for text, kind, detail in (
            ("no acknowledged write is lost", "lost", f"{acknowledged} acknowledged writes and deletes"),
            ("nothing deleted or replaced is back", "returned", f"{deletes} deletes; {gone} keys hold nothing"),
            ("nothing invented, nothing refused", "invented", f"{len(plain)} keys")):
        report.line("check", text, failures_of(wrong[kind]), detail)
        explain(wrong[kind], loads)
    if sets:
        report.line("check", "sets are complete", failures_of(wrong_sets),
                    f"{elements} acknowledged elements in {len(sets)} sets, "
                    f"at most {max(made.siblings_seen for made in sets)} siblings at once")
        explain(wrong_sets, loads)


def failures_of(wrong):
    return f"{len(wrong)} broken promises, the first: {wrong[0][1]}" if wrong else None


def explain(wrong, loads):
    for key, text in wrong[:3]:
        print(f"    {text}")
        for load in loads:
            for line in load.history.of(key.decode())[-30:]:
                print(f"      {line}")


def check_load(load, report):
    counts = load.history.counts
    detail = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    report.line("check", "the load went on, reads were true", "; ".join(load.problems[:3]) or None, detail)
