"""Requests as bytes on the wire: for what no well-behaved client sends, and for very many at once."""

import asyncio
import contextlib
import dataclasses
import json
import socket


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> dict:
        return self.json()["error"]


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def post_bytes(path: str, body: bytes, key: str, **headers: str) -> bytes:
    return head("POST", path, {"Content-Type": "application/json", "Content-Length": str(len(body)),
                               **bearer(key), **headers}) + body


class Connection:
    """One blocking connection."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 30, receive_buffer_bytes: int = 0):
        self._socket = socket.socket()
        self._socket.settimeout(timeout_s)
        if receive_buffer_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.connect(address)
        self._file = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def is_closed(self) -> bool:
        """True when the server has closed; waits for that as long as the time-out."""
        try:
            return self._file.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def answer(self) -> Answer:
        status_line = self._file.readline()
        assert status_line.startswith(b"HTTP/1.1 "), status_line
        status, headers = int(status_line.split()[1]), {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, value = line.decode().split(":", 1)
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._file.read(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    def _chunks(self):
        while length := int(self._file.readline(), 16):
            yield self._file.read(length)
            self._file.readline()
        self._file.readline()


def exchange(address: tuple[str, int], data: bytes, timeout_s: float = 30) -> Answer:
    with Connection(address, timeout_s) as connection:
        with contextlib.suppress(ConnectionError):  # it may refuse before it has read everything
            connection.send(data)
        return connection.answer()


def post(address: tuple[str, int], path: str, body, key: str, **headers: str) -> Answer:
    """`body`: bytes as they are, else something that becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return exchange(address, post_bytes(path, data, key, **headers))


def get(address: tuple[str, int], path: str, key: str = "", **headers: str) -> Answer:
    return exchange(address, head("GET", path, {**bearer(key), **headers}))


async def events(address: tuple[str, int], path: str, request: dict, key: str):
    """The `data:` events of a streamed answer as they come. Ends at [DONE]; anything else that ends it fails."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(post_bytes(path, json.dumps(request).encode(), key))
        status_line = await reader.readline()
        assert b" 200 " in status_line, (status_line, await reader.read(2000))
        while await reader.readline() != b"\r\n":
            pass
        while True:
            line = await reader.readline()  # chunk sizes lie between the lines of events
            assert line, "the stream broke off"
            if line == b"data: [DONE]\n":
                return
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
