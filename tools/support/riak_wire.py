"""A client of Riak's protocol buffers in a few lines, for tests that must share no code with what they test."""
import socket, struct

ALL = 4294967292
QUORUM = 4294967293
REQUEST_SECONDS = 8


class Unanswered(Exception):
    """The request may or may not have been carried out."""


class ErrorAnswer(Exception):
    """The server's own words; of a write, it may or may not stand."""


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
        else:
            length = number()
            yield tag >> 3, message[at:at + length]
            at += length


class Client:
    def __init__(self, address, bucket, seconds=REQUEST_SECONDS, quorum=QUORUM):
        """`seconds` bounds the wait for one answer; `quorum` is r and w where a call names none."""
        self.address = address
        self.quorum = quorum
        self.bucket = bucket
        self.seconds = seconds
        self.socket = None

    def ask(self, code, body):
        """The answer's body. OSError before anything was sent; Unanswered after."""
        self.connect()
        try:
            self.socket.sendall(struct.pack(">IB", len(body) + 1, code) + body)
            length, code = struct.unpack(">IB", self.read(5))
            body = self.read(length - 1)
        except (OSError, EOFError) as error:
            self.close()
            raise Unanswered(str(error))
        if code == 0:
            raise ErrorAnswer(dict(fields(body)).get(1, b"").decode(errors="replace"))
        return body

    def connect(self):
        if self.socket is None:
            self.socket = socket.create_connection(self.address, timeout=min(2, self.seconds))
            self.socket.settimeout(self.seconds)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the connection closed")
            data += piece
        return data

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def get(self, key, r=None):
        """The values that stand, and the context (None: nothing was ever written)."""
        return self.object_of(self.ask(9, self.get_request(key, r or self.quorum)))

    def get_request(self, key, r, pr=None):
        body = field(1, self.bucket) + field(2, key) + field(3, r) + field(9, 1)
        return body if pr is None else body + field(4, pr)

    @staticmethod
    def object_of(body):
        answer = list(fields(body))
        contents = [dict(fields(value)) for number, value in answer if number == 1]
        context = next((value for number, value in answer if number == 2), None)
        return [content.get(1, b"") for content in contents if not content.get(11)], context

    def get_many(self, keys, r, pr):
        """What each key holds, as `get` answers it, or an ErrorAnswer in its place; all are asked for at once."""
        self.connect()
        try:
            self.socket.sendall(b"".join(
                struct.pack(">IB", len(body) + 1, 9) + body for body in (self.get_request(key, r, pr) for key in keys)))
            answers = []
            for _ in keys:
                length, code = struct.unpack(">IB", self.read(5))
                body = self.read(length - 1)
                answers.append(ErrorAnswer(dict(fields(body)).get(1, b"").decode(errors="replace")) if code == 0
                               else self.object_of(body))
            return answers
        except (OSError, EOFError) as error:
            self.close()
            raise Unanswered(str(error))

    def put(self, key, value, context=None):
        body = field(1, self.bucket) + field(2, key)
        if context is not None:
            body += field(3, context)
        self.ask(11, body + field(4, field(1, value)) + field(5, self.quorum))

    def delete(self, key, context):
        self.ask(13, field(1, self.bucket) + field(2, key) + field(4, context) + field(6, self.quorum))
