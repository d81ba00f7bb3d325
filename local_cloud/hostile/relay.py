"""The network of one instance, which can be cut: its calls to the cloud go through this relay."""

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

CHUNK_BYTES = 65536


class Relay:
    """Forwards connections, each endpoint on a port of its own, on one thread.

    While it is cut, no byte passes and no side is told, as when packets are dropped. Afterwards connections go on.
    """

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        """endpoints: variable -> URL, http://HOST:PORT. Other values are kept as they are."""
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        urls = {value for value in endpoints.values() if value.startswith("http://")}
        relayed = {url: asyncio.run_coroutine_threadsafe(self._listen(url), self._loop).result() for url in urls}
        self.endpoints = {name: relayed.get(value, value) for name, value in endpoints.items()}

    def cut(self) -> None:
        """Let no byte pass."""
        self._loop.call_soon_threadsafe(self._passes.clear)

    def mend(self) -> None:
        """Let bytes pass again."""
        self._loop.call_soon_threadsafe(self._passes.set)

    def close(self) -> None:
        """Drop all connections and stop listening."""
        asyncio.run_coroutine_threadsafe(self._drop_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self, url: str) -> str:
        target = urlsplit(url)
        assert target.hostname is not None
        server = await asyncio.start_server(
            lambda reader, writer: self._connect(reader, writer, target.hostname, target.port), target.hostname, 0
        )
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str | None, port: int | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._passes.wait()
            far_reader, far_writer = await asyncio.open_connection(host, port)
            try:
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            finally:
                far_writer.close()
        except OSError:
            return  # one side is gone: close the connection
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._passes.wait()
            writer.write(chunk)
            await writer.drain()
        await self._passes.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _drop_all(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
