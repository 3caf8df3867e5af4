"""Members that come and go while other faults strike: what is changed, and what that must lead to.

A change is committed, and copies move by themselves; other faults that take no copy away may strike meanwhile. The next
change, and whatever takes a copy away, waits until all nodes hold one ring, settled, with the members that it should
have, and none has records left that it gave away. Then who left says so and answers nothing, and who was replaced or
removed is told so when it comes back, and ends.
"""
import collections, json, time

from isolated_cluster import ClusterFailure, wait_for
from riak_wire import Client, ErrorAnswer, Unanswered

FEWEST, MOST = 4, 6           # members; at these a join comes with a leave, in one plan, and the other way round
COMMIT_SECONDS = 60           # until a majority agreed, links having been broken a moment ago
MOVE_SECONDS = 120            # until everything is where it belongs, from when nothing else is broken
TOLD_SECONDS = 20             # until who left, or was removed, knows
FENCED_EXIT = 77
KEYS_ASKED_FOR = 200          # of one that left

Move = collections.namedtuple("Move", "subject began failures leaving dead")


class MemberFaults:
    def __init__(self, chaos, bucket):
        self.chaos, self.bucket = chaos, bucket
        self.cluster, self.load, self.rng = chaos.cluster, chaos.load, chaos.rng
        self.moving = None
        self.commits_repeated = 0
        self.longest_move = 0.0
        self.faults = {
            "join": lambda: self.change(comes=True), "leave": lambda: self.change(goes=True),
            "broken join": lambda: self.change(comes=True, broken=True),
            "broken leave": lambda: self.change(goes=True, broken=True),
            "replace": self.replace, "remove": self.remove, "lost in a move": self.lost_in_a_move}

    # --- Changes ---

    def may_go(self, nodes):
        """The one whose disk is filled now and then stays."""
        return [node for node in nodes if node is not self.chaos.small_disk]

    def change(self, comes=False, goes=False, broken=False):
        """A node joins, or leaves, or both in one plan. `broken`: one side or both are killed in the middle."""
        self.settle()
        members = self.cluster.nodes
        contact = self.rng.choice(members)
        leaver = newcomer = None
        if goes or len(members) >= MOST:
            leaver = self.rng.choice(self.may_go(members))
        if comes or len(members) <= FEWEST:
            newcomer = self.cluster.add(contact)
        if leaver:
            self.cluster.command(contact, "leave", leaver.name)
        movers = [node for node in (newcomer, leaver) if node]
        subject = ", ".join(f"{node.name} {'joins' if node is newcomer else 'leaves'}" for node in movers)
        victims, detail = [], ""
        if broken:
            others = [node for node in members if node is not contact and node is not leaver]
            victims = self.rng.choice(([self.rng.choice(movers)], [self.rng.choice(others)],
                                       [self.rng.choice(movers), self.rng.choice(others)]))
        # Those who move need not be there for the commit.
        early = broken and contact not in victims and self.rng.random() < 0.25
        move = self.begin(subject, leaving=[leaver] if leaver else [])
        if early:
            detail = self.killed(victims, contact)
        self.commit(contact)
        if newcomer:
            self.load.admit(newcomer)
        self.moving = move
        if broken:
            if not early:
                self.chaos.rest(0, 1.5)
                detail = self.killed(victims, contact)
            self.chaos.rest(0.2, 4)
            self.cluster.start(victims)
        if broken or self.rng.random() < 0.5:
            self.settle()
        else:
            detail = "other faults strike meanwhile"
        return subject, detail

    def killed(self, victims, contact):
        ring = self.ring(contact)
        for node in victims:
            self.cluster.kill(node)
        where = f"while {ring['phase']}, epoch {ring['epoch']}" if ring else ""
        return f"{self.chaos.names(victims)} killed {where}"

    def replace(self, remove=False):
        """A node is gone for good; a new one takes over what it owned, or the others do."""
        self.chaos.before_taking_a_copy()
        victim = self.rng.choice(self.may_go(self.cluster.nodes))
        remove = remove and len(self.cluster.nodes) > FEWEST
        self.cluster.kill(victim)
        others = self.chaos.company(victim)
        self.chaos.rest(0.2, 4)
        self.cluster.start(others)
        subject = self.replaced(victim, remove)
        return subject, f"and {self.chaos.names(others)} killed for a while" if others else ""

    def remove(self):
        return self.replace(remove=True)

    def replaced(self, victim, remove=False):
        """`victim` does not run, and is no member from now on, whether its folder is gone or comes back later."""
        self.cluster.forget(victim)
        contact = self.rng.choice(self.cluster.nodes)
        if self.cluster.has_data(victim) and self.rng.random() < 0.5:
            self.cluster.wipe(victim)
        if remove:
            subject = f"{victim.name} removed"
            self.cluster.command(contact, "remove", victim.name)
        else:
            newcomer = self.cluster.add(contact)
            subject = f"{newcomer.name} for {victim.name}"
            self.cluster.command(contact, "replace", victim.name, newcomer.name)
        self.moving = self.begin(subject, dead=[victim])
        self.commit(contact)
        self.load.dismiss(victim)
        if not remove:
            self.load.admit(newcomer)
        self.settle()
        return subject

    def lost_in_a_move(self):
        """A node joins or leaves; before that has ended it, or another one, is gone for good, and is removed."""
        self.chaos.before_taking_a_copy()
        members = self.may_go(self.cluster.nodes)
        mover, other = self.rng.sample(members, 2)
        contact = self.rng.choice([node for node in self.cluster.nodes if node not in (mover, other)])
        if len(self.cluster.nodes) < MOST:
            mover = self.cluster.add(contact)
            subject, leaving = f"{mover.name} joins", []
        else:
            self.cluster.command(contact, "leave", mover.name)
            subject, leaving = f"{mover.name} leaves", [mover]
        victim = other if len(self.cluster.nodes) > FEWEST + 1 and self.rng.random() < 0.5 else mover
        leaving = [node for node in leaving if node is not victim]
        self.moving = self.begin(f"{subject}, {victim.name} lost", leaving, dead=[victim])
        self.commit(contact)
        self.chaos.rest(0, 1)
        detail = self.killed([victim], contact)
        self.cluster.forget(victim)
        if mover is not victim and not leaving:
            self.load.admit(mover)
        self.load.dismiss(victim)
        self.chaos.rest(0.2, 2)
        self.cluster.command(contact, "remove", victim.name)
        self.commit(contact)
        self.settle()
        return subject, detail

    def begin(self, subject, leaving=(), dead=()):
        return Move(subject, time.monotonic(), len(self.load.history.failures), leaving, dead)

    def commit(self, contact):
        """What is staged there. Links that a fault has just broken may cost an attempt; then one asks again."""
        until, plan = time.monotonic() + COMMIT_SECONDS, None
        while True:
            try:
                plan = json.loads(self.cluster.command(contact, "plan", "--json"))
                self.cluster.command(contact, "commit", plan["plan"])
                return
            except ClusterFailure as failure:
                ring = self.ring(contact)
                if plan is not None and ring is not None and ring["epoch"] >= plan["epoch"]:
                    return   # the answer was lost, or another member went on with it
                if time.monotonic() > until:
                    raise ClusterFailure(f"not committed within {COMMIT_SECONDS} s: {failure}")
                self.commits_repeated += 1
                time.sleep(0.5)

    # --- What follows ---

    def ring(self, node):
        try:
            return self.cluster.json(node, "/admin/cluster/ring")
        except OSError:
            return None

    def unsettled(self):
        """What keeps the nodes from one settled ring, in words; None: nothing."""
        leaving = self.moving.leaving if self.moving else ()
        expected = sorted(node.name for node in self.cluster.nodes if node not in leaving)
        wrong, fingerprints = [], {}
        for node in self.cluster.nodes:
            ring = self.ring(node)
            if ring is None:
                wrong.append(f"{node.name} does not answer")
                continue
            members = sorted(member["name"] for member in ring["members"])
            owned = sum(member["partitions"] for member in ring["members"])
            if node in leaving:
                # It hears of no ring after the one in which it is no member.
                ends_well = ring["role"] == "left"
            else:
                ends_well = members == expected and owned == ring["partitions"]
                fingerprints[node.name] = ring["fingerprint"]
            if ring["phase"] != "settled" or ring["clearing"] != 0 or not ends_well:
                pending = sum(member.get("pending") or 0 for member in ring["members"])
                wrong.append(f"{node.name}, {ring['role']}: {ring['phase']}, epoch {ring['epoch']}, {pending} pending, "
                             f"{ring['clearing']} to clear, {owned} of {ring['partitions']} partitions are members', "
                             f"members {' '.join(members)}")
        if len(set(fingerprints.values())) > 1:
            wrong.append(f"rings differ: {fingerprints}")
        return "; ".join(wrong) or None

    def settle(self):
        """Until the change that is under way has come to its end, and what it says of it."""
        if self.moving is None:
            return
        if wait_for(lambda: self.unsettled() is None, MOVE_SECONDS) is None:
            raise ClusterFailure(f"{self.moving.subject}: not settled after {MOVE_SECONDS} s: {self.unsettled()}")
        move, self.moving = self.moving, None
        took = time.monotonic() - move.began
        self.longest_move = max(self.longest_move, took)
        for node in move.leaving:
            self.left(node)
        returned = [self.fenced(node) for node in move.dead]
        failed = self.load.history.failures[move.failures:]
        gone = {node.address for node in (*move.leaving, *move.dead)}
        there = sum(address in gone for _, _, _, address, _ in failed)
        self.chaos.report.line(
            "settled", move.subject, None, f"after {took:.1f} s; {len(failed)} calls failed meanwhile"
            + (f", {there} of them at who is gone" if gone else "") + "".join(returned))

    def left(self, node):
        """It knows that it has left, answers no read, and can be stopped."""
        def has_left():
            ring = self.ring(node)
            return ring is not None and ring["role"] == "left"
        if wait_for(has_left, TOLD_SECONDS) is None:
            raise ClusterFailure(f"{node.name} does not know that it has left: {self.ring(node)}")
        client = Client(node.address, self.bucket, seconds=10)
        keys = sorted(self.load.objects)
        try:
            answers = client.get_many(self.rng.sample(keys, min(len(keys), KEYS_ASKED_FOR)), r=1, pr=None)
        except (OSError, Unanswered) as error:
            raise ClusterFailure(f"{node.name}, which has left, gives no answer: {error}")
        if not all(isinstance(answer, ErrorAnswer) for answer in answers):
            raise ClusterFailure(f"{node.name}, which has left, still answers reads")
        self.load.dismiss(node)
        self.cluster.stop(node)
        if node.process.returncode != 0:
            raise ClusterFailure(f"{node.name}, which has left, ended with status {node.process.returncode}: "
                                 f"{self.cluster.last_words(node)}")
        self.cluster.forget(node)
        self.cluster.scrap(node)

    def fenced(self, node):
        """It comes back, with its folder or, where its configuration says who it is, without: it is told, and ends."""
        words = ""
        if self.cluster.has_data(node) or node.joins is None:
            self.cluster.start([node], wait=False)
            if not self.cluster.wait_until_ended(node, TOLD_SECONDS):
                raise ClusterFailure(f"{node.name}, which was removed, runs again for {TOLD_SECONDS} s")
            if node.process.returncode != FENCED_EXIT:
                raise ClusterFailure(f"{node.name}, which was removed, came back and ended with status "
                                     f"{node.process.returncode}, not {FENCED_EXIT}: {self.cluster.last_words(node)}")
            words = f"; {node.name} came back and was told"
        self.cluster.scrap(node)
        return words
