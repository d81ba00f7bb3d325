"""Makes S3 slow and overloaded: an ASGI layer in front of ministack, for every call signed for S3."""

import asyncio

from local_cloud.exchange import App, Message, Receive, Send, answer, header, read_body, tell
from local_cloud.hostile import is_spared
from local_cloud.hostile.dice import Dice
from local_cloud.hostile.journal import FaultJournal

FIRST_BYTE_SECONDS = (0.1, 2.0)
SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


class HostileObjects:
    """An ASGI layer."""

    def __init__(self, app: App, dice: Dice, journal: FaultJournal) -> None:
        self._app = app
        self._dice = dice
        self._journal = journal

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_s3(scope):
            await self._app(scope, receive, send)
            return
        slow_down, slow = self._dice.roll("slow-down"), self._dice.roll("slow-first-byte")
        what = f"{scope['method']} {scope['path']}"
        if slow_down is not None:
            await read_body(receive)
            self._journal.note("slow-down", what)
            await tell(send, answer(503, "application/xml", b"" if scope["method"] == "HEAD" else SLOW_DOWN))
            return
        if slow is not None:
            least, most = FIRST_BYTE_SECONDS
            self._journal.note("slow-first-byte", what)
            await asyncio.sleep(least + slow * (most - least))
        await self._app(scope, receive, send)


def _is_s3(scope: Message) -> bool:
    authorization = header(scope, b"authorization").decode(errors="replace")
    signed_for_s3 = "/s3/aws4_request" in authorization and not is_spared(authorization)
    return signed_for_s3 or b"%2Fs3%2Faws4_request" in scope["query_string"]
