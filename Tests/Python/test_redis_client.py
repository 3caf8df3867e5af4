"""The public Python client `redis` (PyPI) against a running cluster, in versions 2 and 3 of the protocol; redis-cli and
redis-benchmark too, where they are installed.

    tools/test-python --redis-ports 7379,7389,7399

Every test has keys of its own, so the cluster may hold anything else.
"""

import os
import shutil
import subprocess
import time
import unittest
import uuid

import redis

HOST = os.environ.get("TORC_HOST", "127.0.0.1")
PORTS = [int(port) for port in os.environ.get("REDIS_PORTS", "7379").split(",")]


class Behaviour:
    version = None

    def setUp(self):
        self.clients = [redis.Redis(HOST, port, protocol=self.version, decode_responses=True) for port in PORTS]
        self.client = self.clients[0]
        self.prefix = uuid.uuid4().hex + ":"

    def tearDown(self):
        for client in self.clients:
            client.close()

    def key(self, name="key"):
        return self.prefix + name

    def test_ping_on_every_node(self):
        self.assertTrue(all(client.ping() for client in self.clients))

    def test_what_one_node_wrote_every_node_reads(self):
        self.assertTrue(self.client.set(self.key(), "milk"))
        self.assertEqual([client.get(self.key()) for client in self.clients], ["milk"] * len(PORTS))
        self.assertIsNone(self.client.get(self.key("none")))

    def test_the_last_write_wins(self):
        for number, client in enumerate(self.clients * 3):
            client.set(self.key(), number)
        last = str(len(self.clients) * 3 - 1)
        self.assertEqual([client.get(self.key()) for client in self.clients], [last] * len(PORTS))

    def test_bytes_are_kept_as_they_are(self):
        raw = redis.Redis(HOST, PORTS[0], protocol=self.version)
        value = bytes(range(256)) * 1000 + b"\r\n$5\r\n"
        raw.set(self.key(), value)
        self.assertEqual(raw.get(self.key()), value)
        self.assertEqual(raw.strlen(self.key()), len(value))
        raw.close()

    def test_a_value_of_a_mebibyte(self):
        value = "x" * (1 << 20)
        # The largest object counts its name and versions, too.
        with self.assertRaises(redis.ResponseError):
            self.client.set(self.key(), value + value)
        self.client.set(self.key(), value[:-4096])
        self.assertEqual(self.clients[-1].get(self.key()), value[:-4096])

    def test_many_keys(self):
        pairs = {self.key(str(number)): str(number) for number in range(300)}
        self.assertTrue(self.client.mset(pairs))
        self.assertEqual(self.clients[-1].mget(list(pairs) + [self.key("none")]), list(pairs.values()) + [None])
        self.assertEqual(self.client.exists(*pairs), 300)
        self.assertEqual(self.client.delete(*list(pairs)[:100]), 100)
        self.assertEqual(self.client.unlink(*list(pairs)), 200)
        self.assertEqual(self.client.exists(*pairs), 0)

    def test_time_to_live(self):
        key = self.key()
        self.client.set(key, "v", px=700)
        self.assertTrue(0 < self.client.pttl(key) <= 700)
        self.assertTrue(self.client.persist(key))
        self.assertEqual(self.client.ttl(key), -1)
        self.assertTrue(self.client.expire(key, 100))
        self.client.set(key, "w", keepttl=True)
        self.assertTrue(98 <= self.client.ttl(key) <= 100)
        self.assertEqual(self.client.getex(key, px=200), "w")
        time.sleep(0.4)
        self.assertEqual([client.get(key) for client in self.clients], [None] * len(PORTS))
        self.assertEqual(self.client.ttl(key), -2)

    def test_get_and_something(self):
        key = self.key()
        self.assertIsNone(self.client.set(key, "1", get=True))
        self.assertEqual(self.client.set(key, "2", get=True), "1")
        self.assertEqual(self.client.getdel(key), "2")
        self.assertIsNone(self.client.getdel(key))
        self.assertEqual(self.client.type(key), "none")

    def test_a_pipeline_reads_its_own_writes(self):
        pipeline = self.client.pipeline(transaction=False)
        for number in range(500):
            pipeline.set(self.key(str(number % 7)), number)
            pipeline.get(self.key(str(number % 7)))
        answers = pipeline.execute()
        self.assertEqual(answers[1::2], [str(number) for number in range(500)])

    def test_scan_finds_every_key_once(self):
        client = redis.Redis(HOST, PORTS[0], db=5, protocol=self.version, decode_responses=True)
        keys = {self.key(str(number)) for number in range(400)}
        for key in keys:
            client.set(key, "")
        found = [key for key in client.scan_iter(match=self.prefix + "*", count=50)]
        self.assertEqual(sorted(found), sorted(keys))
        # A cursor means the same to every node.
        other = redis.Redis(HOST, PORTS[-1], db=5, protocol=self.version, decode_responses=True)
        cursor, first = client.scan(0, match=self.prefix + "*", count=10)
        rest = []
        while cursor != 0:
            cursor, more = other.scan(cursor, match=self.prefix + "*", count=10)
            rest += more
        self.assertEqual(sorted(first + rest), sorted(keys))
        self.assertGreaterEqual(client.dbsize(), 400)
        client.close()
        other.close()

    def test_databases_are_apart(self):
        other = redis.Redis(HOST, PORTS[0], db=9, protocol=self.version, decode_responses=True)
        other.set(self.key(), "there")
        self.assertIsNone(self.client.get(self.key()))
        other.close()

    def test_what_needs_consensus_is_refused(self):
        for attempt in (lambda: self.client.set(self.key(), "me", nx=True), lambda: self.client.incr(self.key())):
            with self.assertRaises(redis.ResponseError):
                attempt()

    def test_info_and_configuration(self):
        self.assertEqual(self.client.info()["role"], "master")
        self.assertEqual(self.client.config_get("appendonly"), {"appendonly": "yes"})
        self.client.client_setname("tests")
        self.assertEqual(self.client.client_getname(), "tests")


class Version2(Behaviour, unittest.TestCase):
    version = 2


class Version3(Behaviour, unittest.TestCase):
    version = 3


@unittest.skipUnless(shutil.which("redis-cli"), "redis-cli is not installed")
class Programs(unittest.TestCase):
    def run_program(self, *words, text=None):
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_redis_cli(self):
        key = uuid.uuid4().hex
        cli = ["redis-cli", "-h", HOST, "-p", str(PORTS[0])]
        self.assertEqual(self.run_program(*cli, "SET", key, "two words"), "OK\n")
        self.assertEqual(self.run_program(*cli, "GET", key), "two words\n")
        self.assertEqual(self.run_program(*cli, text=f"get {key}\ndel {key}\nget {key}\n"), "two words\n1\n\n")

    def test_redis_benchmark(self):
        out = self.run_program(
            "redis-benchmark", "-h", HOST, "-p", str(PORTS[0]), "-t", "ping,set,get,mset", "-n", "2000", "-r", "1000", "-q", "-P", "8")
        self.assertEqual(out.count("requests per second"), 5, out)


if __name__ == "__main__":
    unittest.main()
