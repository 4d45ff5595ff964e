"""HTTP/2 by hand, as little of it as a client needs that does not keep to the rules."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def string(text):
    """A string of HPACK without Huffman; lengths up to 16 K."""
    data = text if isinstance(text, bytes) else text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 | 128])
        rest //= 128
    return length + bytes([rest]) + data


def header_block(headers):
    """Each header as a literal that is not indexed."""
    return b"".join(b"\0" + string(name) + string(value) for name, value in headers)


def grpc_headers(path, more=()):
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("content-type", "application/grpc"), ("te", "trailers")] + list(more)


def grpc_message(data, compressed=0, length=None):
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


class Connection:
    """A TCP connection to a gateway's address."""

    def __init__(self, address, preface=True, window=None, receive_buffer=None):
        host, _, port = address.partition("://")[2].rpartition(":")
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect((host.strip("[]"), int(port)))
        self.next_stream = 1
        self.pending = b""
        self.room, self.stream_room = 65535, {}
        if preface:
            self.send(PREFACE + frame(SETTINGS,
                                      payload=b"" if window is None else struct.pack(">HI", 4, window)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_until_refused(self, data, times):
        """Sends again and again; whether the other side has closed."""
        try:
            for _ in range(times):
                self.send(data)
        except (OSError, socket.timeout):
            return True
        return False

    def open(self, path, more=(), end=False):
        """A new stream with gRPC's headers; its number."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream,
                        header_block(grpc_headers(path, more))))
        return stream

    def data(self, stream, payload, end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, payload))

    def stream_data(self, stream, data):
        """Much data, in frames, as the other side makes room; False when it does not want more."""
        while data:
            size = min(len(data), 16384)
            while self.room < size or self.stream_room.get(stream, 65535) < size:
                got = self.receive()
                if got is None or got[2] == stream and got[0] in (RST_STREAM, HEADERS):
                    return False
            self.room -= size
            self.stream_room[stream] = self.stream_room.get(stream, 65535) - size
            self.data(stream, data[:size])
            data = data[size:]
        return True

    def call(self, path, message, more=()):
        """One whole request; its stream."""
        stream = self.open(path, more)
        self.data(stream, grpc_message(message), end=True)
        return stream

    def reset(self, stream, code=8):
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    def receive(self):
        """The next frame as (kind, flags, stream, payload); None when the other side has closed."""
        try:
            while len(self.pending) < 9 or len(self.pending) < 9 + int.from_bytes(self.pending[:3], "big"):
                data = self.socket.recv(65536)
                if not data:
                    return None
                self.pending += data
        except (ConnectionError, socket.timeout):
            return None
        size = int.from_bytes(self.pending[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.pending[3:9])
        payload, self.pending = self.pending[9:9 + size], self.pending[9 + size:]
        if kind == WINDOW_UPDATE and len(payload) == 4:
            more = int.from_bytes(payload, "big")
            if stream == 0:
                self.room += more
            else:
                self.stream_room[stream] = self.stream_room.get(stream, 65535) + more
        if kind == SETTINGS and not flags & ACK:
            try:
                self.send(frame(SETTINGS, ACK))
            except OSError:
                return None
        return kind, flags, stream, payload

    def closed_within(self, frames=10000):
        """Reads until the other side closes."""
        for _ in range(frames):
            if self.receive() is None:
                return True
        return False

    def stream_ends(self, stream, frames=10000):
        """Reads until a stream is ended or reset, or the connection is given up."""
        for _ in range(frames):
            got = self.receive()
            if got is None or got[0] == GOAWAY:
                return True
            kind, flags, number, _payload = got
            if number == stream and (kind == RST_STREAM or kind in (DATA, HEADERS) and flags & END_STREAM):
                return True
        return False
