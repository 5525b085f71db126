#!/usr/bin/env python3
"""Many clients at once against a running `serve`: no wrong answer, no leak, and how long they wait.

    cargo run --release --example serve -- --port 8123 --variant library --temperature 0
    python scripts/stress_serve.py http://127.0.0.1:8123 --pid PID [--clients 64] [--seconds 300]

Every question is first asked alone, at temperature 0. Then all clients ask at random, one in five leaves before the
answer is complete, and every complete answer must be the one given alone. The memory of the server (resident, from
/proc) is read at the end of each tenth of the time: after the first half it must not grow by more than 5 %.

Needs Python 3.11 and `pip install httpx==0.28.1`.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path

import httpx

NAMES = ["Lisa", "Tom", "Anna", "Felix", "Bruno", "Clara", "David", "Emma"]
THINGS = ["coins", "apples", "books", "stones", "cards"]
SYSTEM = "reasoning language: English\n\nYou are a helpful assistant."


def question(number):
    pick = random.Random(number)
    name, thing = pick.choice(NAMES), pick.choice(THINGS)
    a, b = pick.randint(2, 9), pick.randint(2, 9)
    return f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?"


def body(number, stream):
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question(number)},
        ],
        "temperature": 0,
        "max_tokens": 120,
        "stream": stream,
    }


def text(message):
    return message.get("reasoning_content") or "", message.get("content") or ""


async def ask(client, number):
    reply = await client.post("/v1/chat/completions", json=body(number, False))
    reply.raise_for_status()
    return text(reply.json()["choices"][0]["message"])


async def stream(client, number, leave_after):
    """The answer, or None if the client left; and the seconds to the first event with text."""
    reasoning, content, events, first, begun = "", "", 0, None, time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body(number, True)) as reply:
        if reply.status_code == 429:
            return "full", None
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"])
            delta = event["choices"][0]["delta"]
            reasoning += delta.get("reasoning_content") or ""
            content += delta.get("content") or ""
            events += 1
            if first is None and (reasoning or content):
                first = time.monotonic() - begun
            if leave_after is not None and events >= leave_after:
                return None, first
    return (reasoning, content), first


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def run(args):
    limits = httpx.Limits(max_connections=args.clients + 8)
    client = httpx.AsyncClient(base_url=args.url, timeout=600, limits=limits)
    alone = [await ask(client, number) for number in range(args.questions)]
    counts = {"complete": 0, "left": 0, "full": 0, "wrong": 0}
    waits, memory = [], []
    end = time.monotonic() + args.seconds

    async def one(seed):
        pick = random.Random(seed)
        while time.monotonic() < end:
            number = pick.randrange(args.questions)
            leave = pick.randint(1, 30) if pick.random() < 0.2 else None
            answer, first = await stream(client, number, leave)
            if first is not None:
                waits.append(first)
            if answer == "full":
                counts["full"] += 1
                await asyncio.sleep(1)
            elif answer is None:
                counts["left"] += 1
            else:
                counts["complete"] += 1
                counts["wrong"] += answer != alone[number]

    async def watch():
        for _ in range(10):
            await asyncio.sleep(args.seconds / 10)
            memory.append(resident(args.pid))

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(one(seed) for seed in range(args.clients)))
    await watcher
    waits.sort()
    share = lambda p: waits[min(len(waits) - 1, int(p * len(waits)))]
    print(f"{args.clients} clients, {args.seconds} s: {counts}")
    print(f"first token after: median {share(0.5):.3f} s, p99 {share(0.99):.3f} s, longest {waits[-1]:.3f} s")
    print("resident MB: " + " ".join(f"{mb:.0f}" for mb in memory))
    grown = memory[-1] / memory[4] - 1
    print(f"growth over the second half: {100 * grown:.1f} %")
    if counts["wrong"] or counts["complete"] == 0 or grown > 0.05:
        sys.exit("FAILED")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--questions", type=int, default=40)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
