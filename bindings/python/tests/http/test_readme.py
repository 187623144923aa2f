"""The examples of the README's section, run as they stand there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest
from server import chat, chat_stream, message, serving

import llmrl

for name in ("openai", "anthropic", "httpx", "aiohttp", "requests", "langchain_core"):
    pytest.importorskip(name)

README = Path(__file__).resolve().parents[2] / "README.md"
SECTION = README.read_text("utf-8").partition("## With the SDK you use\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


async def run(code: str, names: dict) -> None:
    result = eval(compile(code, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(result):
        await result


# Models that a README names are deprecated one day.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_examples(monkeypatch, capsys):
    from langchain_core.language_models import GenericFakeChatModel

    def model(**options):
        return GenericFakeChatModel(messages=iter(["hello"]), **options)

    async def main(server) -> None:
        names = {"llmrl": llmrl, "ChatModel": model}
        for code in BLOCKS:
            if "LLMClient" in code:
                server.answers = [chat(), chat_stream()]
                code = code.replace("LLMClient(limiter)", f"LLMClient(limiter, base_url={server.url!r})")
            elif "anthropic" in code:
                server.answers = [message()]
            await run(code, names)
            client = names.get("client")
            if "http_client" in code:
                await client.chat.completions.create(model="m", messages=[])
                await client.close()
            elif "AsyncOpenAI" in code:
                assert names["limiter"].limits()[1].available > 200_000 - 19 - 10
                await client.close()
            elif "Middleware" in code:
                await (await names["session"].post(server.url + "/v1/chat/completions", json={})).read()
                await names["session"].close()
            elif "Adapter" in code:
                assert names["session"].get_adapter("https://x").throttle.limiter is names["limiter"]
            elif "ChatModel" in code:
                assert names["model"].invoke("hi").content == "hello"
            elif "Anthropic" in code or "by_model" in code:
                client.close()

    with serving(chat()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, "k")
        asyncio.run(main(server))
        assert len(server.requests) == 6
    assert len(BLOCKS) == 8 and capsys.readouterr().out.startswith("h\ne\nl\nl\no\n{'prompt_tokens': 12")
