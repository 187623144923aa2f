"""What the fuzzer begins with: the answers of tests/feedback, one a file, in the form that input.rs reads."""

import json
import sys
from pathlib import Path

folder = Path(__file__).resolve().parents[1] / "feedback"
corpus = Path(sys.argv[1])
corpus.mkdir(parents=True, exist_ok=True)
for name in ("vectors", "examples"):
    for vector in json.loads((folder / f"{name}.json").read_text("utf-8")):
        lines = [f"{vector['status']} {vector.get('now', '')}"]
        lines += [f"{header}: {value}" for header, value in vector["headers"]]
        text = "\n".join([*lines, "", vector.get("body", "")])
        (corpus / vector["id"]).write_text(text, "utf-8")
