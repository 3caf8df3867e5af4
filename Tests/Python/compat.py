"""What the public client `riak` 2.7.0 (2016) needs to run on Python 3.11.

Import this before `riak`. Nothing of the client's own behaviour is changed: it is given back what later
versions of Python and of protobuf have taken away.

- `collections.Mapping` and its siblings moved to `collections.abc` (removed from `collections` in 3.10).
- `collections.namedtuple` lost its argument `verbose` (3.7).
- `inspect.getargspec` became `getfullargspec` (removed in 3.11).
- The client's generated messages carry their descriptors as text, as Python 2 did. protobuf 3.20, the last
  that reads code of that age, wants bytes, and only its pure-Python implementation takes such code at all.
- The client asks for `python3_protobuf`, an abandoned fork; `tools/test-python` installs protobuf 3.20 instead
  and the client without its declared dependencies.
"""

import collections
import collections.abc
import inspect
import os

os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

for _name in ("Callable", "Container", "Hashable", "Iterable", "Mapping", "MutableMapping", "MutableSequence",
              "MutableSet", "Sequence", "Set", "Sized"):
    if not hasattr(collections, _name):
        setattr(collections, _name, getattr(collections.abc, _name))

_namedtuple = collections.namedtuple


def _quiet_namedtuple(*args, verbose=False, **kwargs):
    return _namedtuple(*args, **kwargs)


collections.namedtuple = _quiet_namedtuple

if not hasattr(inspect, "getargspec"):
    inspect.getargspec = inspect.getfullargspec


def _bytes(text):
    return text.encode("latin-1") if isinstance(text, str) else text


def _patch_protobuf():
    from google.protobuf import descriptor

    parse_options = descriptor._ParseOptions
    descriptor._ParseOptions = lambda message, text: parse_options(message, _bytes(text))

    file_init = descriptor.FileDescriptor.__init__

    def init(self, name, package, *args, **kwargs):
        if "serialized_pb" in kwargs:
            kwargs["serialized_pb"] = _bytes(kwargs["serialized_pb"])
        file_init(self, name, package, *args, **kwargs)

    descriptor.FileDescriptor.__init__ = init


_patch_protobuf()
