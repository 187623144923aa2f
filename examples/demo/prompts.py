"""A batch file of invented but realistic prompts, the same on every run."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

MAX_TOKENS = 1024
CHARS_PER_TOKEN = 4
SHORTEST, LONGEST = 50, 4000
"""Prompt sizes in tokens; log-uniform between the two, as in mixed production traffic."""

TASKS = (
    "Summarise the following support conversation in five sentences.",
    "Extract all dates, amounts and names from this contract as JSON.",
    "Classify the tone of this review and quote the sentence that decides it.",
    "Translate the following manual page into plain English for beginners.",
    "Find contradictions between the sections of this report and list them.",
    "Write release notes from this change log; group related entries.",
)
SUBJECTS = ("The customer", "Our team", "The service", "This release", "The supplier", "Every node", "The auditor")
VERBS = ("reported", "confirmed", "measured", "replaced", "rejected", "postponed", "described", "repeated")
OBJECTS = (
    "a delay of several minutes in the nightly export",
    "the figures for the second quarter without the returns",
    "an error that appears only when two sessions overlap",
    "the agreement on delivery dates and partial refunds",
    "a rise in memory use after the upgrade of the parser",
    "the request to keep all records for seven years",
    "three of the four conditions named in section nine",
)


def document(rng: random.Random, chars: int) -> str:
    """About ``chars`` characters of sentences."""
    parts = [rng.choice(TASKS), ""]
    size = len(parts[0]) + 1
    while size < chars:
        sentence = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)} (item {rng.randrange(1000)})."
        parts.append(sentence)
        size += len(sentence) + 1
    return "\n".join(parts)[:chars]


def request(rng: random.Random, number: int) -> dict:
    """One line of OpenAI's Batch input format."""
    tokens = math.exp(rng.uniform(math.log(SHORTEST), math.log(LONGEST)))
    content = document(rng, int(tokens * CHARS_PER_TOKEN))
    body = {"model": "gpt-4o-mini", "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": content}]}
    return {"custom_id": f"prompt-{number:04d}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def write_batch(path: Path, count: int, seed: int) -> None:
    """Write ``count`` requests to ``path``."""
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps(request(rng, number)) + "\n")
