#!/usr/bin/env python3
"""Tokens per second of the Python package `tokenizers` on the texts of a dataset, beside `cargo bench --bench tokenize`.

    python scripts/peer_tokenize.py rows.jsonl tokenizer.json
"""

import json
import sys
import time

from tokenizers import Tokenizer


def main():
    data, file = sys.argv[1:3]
    tokenizer = Tokenizer.from_file(file)
    tokenizer.encode_special_tokens = True
    texts = []
    with open(data, encoding="utf-8") as lines:
        for line in lines:
            for message in json.loads(line)["messages"]:
                texts += [message[key] for key in ("content", "thinking") if message.get(key)]
    for _ in range(3):
        start, tokens = time.perf_counter(), 0
        for at in range(0, len(texts), 8192):
            batch = tokenizer.encode_batch(texts[at : at + 8192], add_special_tokens=False)
            tokens += sum(len(encoding) for encoding in batch)
        seconds = time.perf_counter() - start
        print(f"{len(texts)} texts, {tokens} tokens in {seconds:.2f} s: {tokens / seconds:.0f} tokens/s")


main()
