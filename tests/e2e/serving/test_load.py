"""Hundreds of streams at once: each answer is that of the same request alone, and memory stays."""

import asyncio
import os
import random
import time

import wire
from deployment import MODEL_NAME, eventually

NUM_STREAMS = 500
NUM_QUITTERS = 100  # clients that go away in the middle, beside the others
NUM_REQUESTS = 50
SOAK_S = float(os.environ.get("DSL_SOAK_S", "20"))
# What an allocator may keep more than at the first peak: its arenas fill unevenly.
GROWTH_BYTES = 4 << 20


def make_requests(additions):
    """Chats and completions of mixed length, greedy and seeded."""
    rng = random.Random(20)
    requests = []
    for index in range(NUM_REQUESTS):
        question, _ = additions[rng.randrange(len(additions))]
        fields = {"model": MODEL_NAME, "stream": True, "stream_options": {"include_usage": True}}
        if index % 2:
            fields |= {"temperature": 2, "top_p": 0.99, "seed": index}
        if index % 5 == 4:
            fields |= {"prompt": question, "max_tokens": rng.choice([8, 60, 150]), "ignore_eos": True}
            requests.append(("/v1/completions", fields))
        else:
            fields |= {"messages": [{"role": "user", "content": question}]}
            if rng.random() < 0.5:
                fields["max_tokens"] = rng.randrange(1, 60)
            requests.append(("/v1/chat/completions", fields))
    return requests


async def answer_of(address, key, path, fields, quit_after=None):
    """Text, reasoning, finish reason and token count; None when this client went away by itself."""
    content, reasoning, finish_reason, usage, num_events = [], [], None, None, 0
    stream = wire.events(address, path, fields, key)
    try:
        async for event in stream:
            assert "error" not in event, event
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                delta = choice.get("delta", choice)
                content.append(delta.get("content") or delta.get("text") or "")
                reasoning.append(delta.get("reasoning_content") or "")
                finish_reason = choice.get("finish_reason") or finish_reason
            num_events += 1
            if num_events == quit_after:
                return None
    finally:
        await stream.aclose()
    return "".join(content), "".join(reasoning), finish_reason, usage["prompt_tokens"], usage["completion_tokens"]


class Load:
    """Waves of concurrent requests whose answers are known."""

    def __init__(self, address, key, additions):
        self._address, self._key = address, key
        self._requests = make_requests(additions)
        self._rng = random.Random(21)
        self._alone = []

    async def ask_alone(self):
        for path, fields in self._requests:
            self._alone.append(await answer_of(self._address, self._key, path, fields))
        assert len({len(answer[0] + answer[1]) for answer in self._alone}) > 10, "lengths are not mixed"

    async def wave(self):
        indices = [i % NUM_REQUESTS for i in range(NUM_STREAMS)]
        self._rng.shuffle(indices)
        streams = [answer_of(self._address, self._key, *self._requests[i]) for i in indices]
        quitters = [answer_of(self._address, self._key, *self._requests[self._rng.randrange(NUM_REQUESTS)],
                              quit_after=self._rng.randrange(1, 30)) for _ in range(NUM_QUITTERS)]
        answers, _ = await asyncio.gather(asyncio.gather(*streams), asyncio.gather(*quitters))
        wrong = [(i, answer, self._alone[i]) for i, answer in zip(indices, answers) if answer != self._alone[i]]
        assert not wrong, f"{len(wrong)} of {NUM_STREAMS} answers differ, the first: {wrong[0]}"


def test_answers_and_memory_under_load(deployment, address, key, additions):
    load = Load(address, key, additions)
    asyncio.run(load.ask_alone())
    samples, durations_s = [], []
    end = time.monotonic() + SOAK_S
    while time.monotonic() < end or len(samples) < 4:
        began = time.monotonic()
        asyncio.run(load.wave())
        durations_s.append(time.monotonic() - began)
        assert eventually(deployment.is_idle, 10), f"cancelled requests go on: {deployment.num_running()}"
        samples.append(deployment.resident_bytes())
    print(f"{len(samples)} waves of {NUM_STREAMS} + {NUM_QUITTERS} streams, {min(durations_s):.1f} to "
          f"{max(durations_s):.1f} s each")
    for program in samples[0]:
        sizes = [sample[program] for sample in samples]
        print(program, "MiB resident after each wave:", [round(size / 2**20, 1) for size in sizes])
        peak = max(sizes[:2])
        assert max(sizes) <= peak + GROWTH_BYTES, f"{program} grows: {sizes}"
