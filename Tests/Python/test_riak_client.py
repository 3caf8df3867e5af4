"""The public Python client `riak` 2.7.0 against a running cluster, over protocol buffers and over HTTP.

    tools/test-python --host 127.0.0.1 --pb-ports 8087,8097,8107 --http-ports 8098,8108,8118

Every test takes a bucket of its own, so the cluster may hold anything else.
"""

import argparse
import os
import sys
import unittest
import uuid
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
warnings.simplefilter("ignore", ResourceWarning)

import compat  # noqa: F401  (before riak)
import riak
from riak import ConflictError, RiakError
from riak.resolver import last_written_resolver

HOST = os.environ.get("TORC_HOST", "127.0.0.1")
PB_PORTS = [int(port) for port in os.environ.get("TORC_PB_PORTS", "8087").split(",")]
HTTP_PORTS = [int(port) for port in os.environ.get("TORC_HTTP_PORTS", "8098").split(",")]


def nodes():
    pairs = zip(PB_PORTS, HTTP_PORTS)
    return [{"host": HOST, "pb_port": pb, "http_port": http} for pb, http in pairs]


class Behaviour:
    """What must hold over either interface; the two classes below run it over each."""

    protocol = None

    def setUp(self):
        self.client = self.connect()
        self.name = "python-" + uuid.uuid4().hex
        self.bucket = self.client.bucket(self.name)

    def tearDown(self):
        self.client.close()

    def connect(self, **options):
        return riak.RiakClient(protocol=self.protocol, nodes=nodes(), **options)

    def conflict(self, key, *values):
        """Several clients write, each without having seen the others' versions."""
        for value in values:
            client = self.connect()
            client.bucket(self.name).new(key, data=value).store()
            client.close()

    def test_ping(self):
        self.assertTrue(self.client.ping())

    def test_every_node_answers(self):
        for node in nodes():
            client = riak.RiakClient(protocol=self.protocol, nodes=[node])
            self.assertTrue(client.ping())
            client.close()

    def test_store_and_fetch(self):
        stored = self.bucket.new("k", data={"a": [1, 2, 3]}).store()
        self.assertIsNotNone(stored.vclock)
        fetched = self.bucket.get("k")
        self.assertTrue(fetched.exists)
        self.assertEqual(fetched.data, {"a": [1, 2, 3]})
        self.assertEqual(fetched.content_type, "application/json")
        self.assertEqual(len(fetched.siblings), 1)
        self.assertIsNotNone(fetched.etag)
        self.assertIsNotNone(fetched.last_modified)

    def test_what_one_node_stored_every_node_has(self):
        self.bucket.new("k", data="v").store()
        for node in nodes():
            client = riak.RiakClient(protocol=self.protocol, nodes=[node])
            self.assertEqual(client.bucket(self.name).get("k").data, "v")
            client.close()

    def test_not_found(self):
        fetched = self.bucket.get("nothing")
        self.assertFalse(fetched.exists)
        self.assertEqual(fetched.siblings, [])

    def test_bytes_and_awkward_names(self):
        for key in ["a/b c", "ä+ö", "100%", "a?b=c&d"]:
            value = bytes(range(256))
            self.bucket.new(key, encoded_data=value, content_type="application/octet-stream").store()
            self.assertEqual(self.bucket.get(key).encoded_data, value)

    def test_metadata(self):
        stored = self.bucket.new("k", data="text", content_type="text/plain")
        stored.charset = "utf-8"
        stored.usermeta = {"colour": "red", "size": "9"}
        stored.add_link(self.bucket.new("other key", data="x"), tag="friend")
        stored.store()
        fetched = self.bucket.get("k")
        self.assertEqual(fetched.content_type, "text/plain")
        self.assertEqual(fetched.charset, "utf-8")
        self.assertEqual(fetched.usermeta, {"colour": "red", "size": "9"})
        self.assertEqual(fetched.links, [(self.name, "other key", "friend")])

    def test_indexes_are_kept(self):
        stored = self.bucket.new("k", data="v")
        stored.add_index("age_int", 42)
        stored.add_index("name_bin", "ann")
        stored.store()
        self.assertEqual(self.bucket.get("k").indexes, {("age_int", 42), ("name_bin", "ann")})

    def test_replace_with_context(self):
        first = self.bucket.new("k", data="1").store()
        first.data = "2"
        first.store()
        fetched = self.bucket.get("k")
        self.assertEqual(fetched.data, "2")
        self.assertEqual(len(fetched.siblings), 1)

    def test_siblings_and_resolution(self):
        self.conflict("k", "1", "2", "3")
        fetched = self.bucket.get("k")
        self.assertEqual(sorted(sibling.data for sibling in fetched.siblings), ["1", "2", "3"])
        self.assertEqual(len({sibling.etag for sibling in fetched.siblings}), 3)
        with self.assertRaises(ConflictError):
            fetched.data
        fetched.siblings = [sibling for sibling in fetched.siblings if sibling.data == "2"]
        fetched.store()
        resolved = self.bucket.get("k")
        self.assertEqual(resolved.data, "2")
        self.assertEqual(len(resolved.siblings), 1)

    def test_a_stale_context_makes_a_sibling(self):
        first = self.bucket.new("k", data="1").store()
        other = self.connect()
        stale = other.bucket(self.name).get("k")
        first.data = "2"
        first.store()
        stale.data = "3"
        stale.store()
        other.close()
        self.assertEqual(sorted(s.data for s in self.bucket.get("k").siblings), ["2", "3"])

    def test_resolver(self):
        self.conflict("k", "1", "2")
        self.bucket.resolver = last_written_resolver
        self.assertEqual(len(self.bucket.get("k").siblings), 1)

    def test_delete(self):
        stored = self.bucket.new("k", data="v").store()
        stored.delete()
        fetched = self.bucket.get("k")
        self.assertFalse(fetched.exists)
        self.bucket.new("k", data="again").store()
        self.assertEqual(self.bucket.get("k").data, "again")
        self.assertEqual(len(self.bucket.get("k").siblings), 1)

    def test_delete_without_reading(self):
        self.bucket.new("k", data="v").store()
        self.bucket.delete("k")
        self.assertFalse(self.bucket.get("k").exists)

    def test_delete_what_is_not_there(self):
        self.bucket.delete("nothing")

    def test_server_makes_the_key(self):
        stored = self.bucket.new(data="v").store()
        self.assertTrue(stored.key)
        self.assertEqual(self.bucket.get(stored.key).data, "v")

    def test_if_none_match(self):
        self.bucket.new("k", data="1").store(if_none_match=True)
        with self.assertRaises(Exception):
            self.bucket.new("k", data="2").store(if_none_match=True)
        self.assertEqual(self.bucket.get("k").data, "1")

    def test_quorums(self):
        for quorum in ["one", "quorum", "all", 2]:
            self.bucket.new("k", data=str(quorum)).store(w=quorum, dw=quorum)
            self.assertTrue(self.bucket.get("k", r=quorum, pr=quorum).exists)
        with self.assertRaises(RiakError):
            self.bucket.get("k", r=9)

    def test_bucket_properties(self):
        defaults = self.bucket.get_properties()
        self.assertEqual(defaults["n_val"], 3)
        self.assertTrue(defaults["allow_mult"])
        self.assertEqual(defaults["r"], "quorum")
        self.bucket.set_properties({"r": 1, "w": "all", "notfound_ok": False})
        changed = self.bucket.get_properties()
        self.assertEqual(changed["w"], "all")
        self.assertIn(changed["r"], [1, "one"])
        self.assertFalse(changed["notfound_ok"])
        self.bucket.clear_properties()
        self.assertEqual(self.bucket.get_properties()["w"], "quorum")

    def test_last_write_wins(self):
        self.bucket.allow_mult = False
        self.assertFalse(self.bucket.get_properties()["allow_mult"])
        self.conflict("k", "1", "2")
        fetched = self.bucket.get("k")
        self.assertEqual(len(fetched.siblings), 1)
        self.assertEqual(fetched.data, "2")

    def test_bucket_types(self):
        bucket = self.client.bucket_type("kind").bucket(self.name)
        bucket.new("k", data="typed").store()
        self.assertEqual(bucket.get("k").data, "typed")
        self.assertFalse(self.bucket.get("k").exists)

    def test_list_keys(self):
        keys = {"k%d" % number for number in range(50)}
        for key in keys:
            self.bucket.new(key, data="v").store()
        self.bucket.delete("k0")
        keys.remove("k0")
        self.assertEqual(sorted(self.client.get_keys(self.bucket)), sorted(keys))
        streamed = []
        with_stream = self.client.stream_keys(self.bucket)
        for piece in with_stream:
            streamed += piece
        with_stream.close()
        self.assertEqual(sorted(streamed), sorted(keys))

    def test_list_buckets(self):
        self.bucket.new("k", data="v").store()
        names = [bucket.name for bucket in self.client.get_buckets()]
        self.assertEqual(names.count(self.name), 1)
        streamed = []
        stream = self.client.stream_buckets()
        for piece in stream:
            streamed += [bucket.name for bucket in piece]
        stream.close()
        self.assertIn(self.name, streamed)

    def test_preference_list(self):
        entries = self.client.get_preflist(self.bucket, "k")
        self.assertEqual(len(entries), min(3, len(nodes())))

    def test_large_object(self):
        value = os.urandom(900_000)
        self.bucket.new("k", encoded_data=value, content_type="application/octet-stream").store()
        self.assertEqual(self.bucket.get("k").encoded_data, value)

    def test_too_large_object(self):
        value = bytes(3 << 20)
        with self.assertRaises(Exception):
            self.bucket.new("k", encoded_data=value, content_type="application/octet-stream").store()
        self.assertFalse(self.bucket.get("k").exists)

    def test_forged_context(self):
        stored = self.bucket.new("k", data="v").store()
        from riak.riak_object import VClock

        stored.vclock = VClock(b"a made up clock", "binary")
        with self.assertRaises(RiakError):
            stored.store()
        self.assertEqual(self.bucket.get("k").data, "v")


class ProtocolBuffers(Behaviour, unittest.TestCase):
    protocol = "pbc"


class HTTP(Behaviour, unittest.TestCase):
    protocol = "http"


class Together(unittest.TestCase):
    """What one interface writes the other reads."""

    def test_both_ways(self):
        name = "python-" + uuid.uuid4().hex
        clients = {p: riak.RiakClient(protocol=p, nodes=nodes()) for p in ("pbc", "http")}
        for writer, reader in (("pbc", "http"), ("http", "pbc")):
            stored = clients[writer].bucket(name).new(writer, data={"by": writer})
            stored.usermeta = {"colour": "red"}
            stored.store()
            fetched = clients[reader].bucket(name).get(writer)
            self.assertEqual(fetched.data, {"by": writer})
            self.assertEqual(fetched.usermeta, {"colour": "red"})
            # A context of one interface is good for the other.
            fetched.data = {"by": reader}
            fetched.store()
            again = clients[writer].bucket(name).get(writer)
            self.assertEqual(len(again.siblings), 1)
            self.assertEqual(again.data, {"by": reader})
        for client in clients.values():
            client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--pb-ports")
    parser.add_argument("--http-ports")
    given, rest = parser.parse_known_args()
    HOST = given.host
    if given.pb_ports:
        PB_PORTS = [int(port) for port in given.pb_ports.split(",")]
    if given.http_ports:
        HTTP_PORTS = [int(port) for port in given.http_ports.split(",")]
    unittest.main(argv=[sys.argv[0]] + rest)
