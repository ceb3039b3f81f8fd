"""A well-behaved client beside the others: its streams must go on undisturbed."""

import asyncio
import threading
import time

import wire
from deployment import MODEL_NAME

REQUEST = {"model": MODEL_NAME, "prompt": "What is 47 + 85?", "max_tokens": 200, "ignore_eos": True, "stream": True}


class Bystander:
    """Streams the same answer again and again in a thread of its own."""

    MAX_GAP_S = 3.0  # between two events; the machine does other things as well

    def __init__(self, address, key):
        self._address, self._key = address, key
        self._ends = threading.Event()
        self._problem = None
        self.num_streams = 0
        self.longest_gap_s = 0.0
        self._expected = asyncio.run(self._stream())
        self._thread = threading.Thread(target=self._work, name="bystander")
        self._thread.start()

    def finish(self) -> None:
        """Ends after the stream that is open; fails when one was wrong or stood still."""
        self._ends.set()
        self._thread.join()
        if self._problem is not None:
            raise AssertionError("the well-behaved stream was disturbed") from self._problem
        assert self.num_streams > 0 and self.longest_gap_s < self.MAX_GAP_S, (self.num_streams, self.longest_gap_s)

    def _work(self) -> None:
        try:
            while not self._ends.is_set():
                answer = asyncio.run(self._stream())
                assert answer == self._expected, (answer, self._expected)
                self.num_streams += 1
        except Exception as problem:  # told by finish()
            self._problem = problem

    async def _stream(self) -> str:
        texts = []
        last = time.monotonic()
        async for event in wire.events(self._address, "/v1/completions", REQUEST, self._key):
            texts.extend(choice["text"] for choice in event["choices"])
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - last)
            last = now
        return "".join(texts)
