"""Lets a machine's network reach this cloud, and nothing else: the metadata service and the cloud's ports.

    python -I -S relay.py METADATA_URL DESCRIPTOR DESCRIPTOR ...

The descriptors are sockets that listen inside the machine's network: the first at 169.254.169.254, where a request for
/latest/... becomes one for <path of METADATA_URL>/latest/...; the others at the ports of the cloud, which are passed on
as they are. This process itself is outside, where the cloud listens.
"""

import asyncio
import contextlib
import functools
import signal
import socket
import sys
import urllib.parse

CHUNK = 1 << 16


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until the end of them."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def pump_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    """Pass HTTP requests on, each with `path` put before its own."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, rest = head.split(b" ", 1)
            writer.write(method + b" " + path.encode() + rest)
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"content-length":
                    writer.write(await reader.readexactly(int(value)))
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: "tuple[str, int]", path: "str | None"
) -> None:
    """Join a caller to `address`, until both have said all."""
    try:
        far_reader, far_writer = await asyncio.open_connection(*address)
    except OSError:
        writer.close()
        return
    asking = pump(reader, far_writer) if path is None else pump_requests(reader, far_writer, path)
    asked = asyncio.ensure_future(asking)
    await pump(far_reader, writer)
    # A server that has ended its answers reads no more.
    asked.cancel()
    for one in (writer, far_writer):
        with contextlib.suppress(OSError):
            one.close()


async def serve(metadata_url: str, listeners: "list[socket.socket]") -> None:
    """Relay until this process is ended."""
    metadata = urllib.parse.urlsplit(metadata_url)
    of_metadata, *of_cloud = listeners
    address = (str(metadata.hostname), int(metadata.port or 80))
    answers = [(of_metadata, functools.partial(join, address=address, path=metadata.path))]
    for listener in of_cloud:
        answers.append((listener, functools.partial(join, address=("127.0.0.1", listener.getsockname()[1]), path=None)))
    servers = [await asyncio.start_server(answer, sock=listener) for listener, answer in answers]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(serve(sys.argv[1], [socket.socket(fileno=int(number)) for number in sys.argv[2:]]))
