"""The configuration file: what it may say, and what is said about what it may not."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="needs the service extra: pip install 'llmrl[service]'")

from llmrl import Charging, Limit, Weights
from llmrl.service import config as module
from llmrl.service import schema
from llmrl.service.config import BadConfig, Secret, parse

UPSTREAM = '[[upstream]]\nname = "east"\nbase_url = "http://a/v1"\nlimits = [{amount = 5}]\n'


def problems(text: str, folder: Path = Path()) -> List[str]:
    with pytest.raises(BadConfig) as caught:
        parse(text, folder)
    return caught.value.problems


def test_the_example_in_the_module() -> None:
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_defaults() -> None:
    config = parse(UPSTREAM)
    assert config.server == ("127.0.0.1", 8080, 8388608, 32768, 30, "text")
    assert config.admission == ("wait", 30, 1000, 3) and config.admission.patience == 30
    assert config.admin is config.clients is config.users is None and config.all == () and config.models == {}
    (east,) = config.upstreams
    assert east.limits == (Limit.requests(5),) and east.key is None and east.models is None
    assert (east.weight, east.charging, east.raise_limits, east.timeout) == (1, Charging.of("openai"), False, 300.0)
    assert parse("[admission]\npolicy = 'reject'\n" + UPSTREAM).admission.patience == 0


def test_every_kind_of_limit() -> None:
    config = parse(
        UPSTREAM
        + """
        [global]
        limits = [
            {amount = 500, burst = 20, oversize = "when_full"},
            {kind = "pacing", amount = 10, per = 1},
            {kind = "sliding_window", amount = 20, parts = 6},
            {kind = "sliding_window_counter", amount = 30, meter = "tokens"},
            {kind = "sliding_window_log", amount = 40, stamps = 8},
            {meter = {output = 5, cached = 0}, amount = 50},
            {kind = "in_flight", amount = 60},
            {kind = "fixed_window", amount = 70, per = 86400, time_zone = "America/Los_Angeles"},
        ]
        """
    )
    assert config.all[:7] == (
        Limit.requests(500, burst=20, oversize="when_full"),
        Limit.pacing(10, 1),
        Limit.sliding_window(20, parts=6),
        Limit.sliding_window_counter(30, meter="tokens"),
        Limit.sliding_window_log(40, stamps=8),
        Limit.token_bucket(50, meter=Weights(output=5, cached=0)),
        Limit.in_flight(60),
    )
    assert repr(config.all[7]).startswith("Limit.fixed_window(70, per=86400, resets_in=")


@pytest.mark.parametrize(
    "text, key, value, accepted",
    [
        ("[server]\nport = 70000\n", "server.port", "70000", "a whole number from 0 to 65535"),
        ("[server]\nport = true\n", "server.port", "True", "a whole number from 0 to 65535"),
        ("[server]\nlog = 'xml'\n", "server.log", "'xml'", 'one of "text", "json"'),
        ("[admission]\nmax_wait = nan\n", "admission.max_wait", "nan", "a number from 0 to 3600"),
        ("[admission]\nmax_wait = '30 s'\n", "admission.max_wait", "'30 s'", "a number from 0 to 3600"),
        ("[global]\nlimits = []\n", "global.limits", "[]", "an array of 1 to 8"),
        ("[global]\nlimits = 3\n", "global.limits", "3", "an array of 1 to 8"),
        ("[global]\nlimits = [{amount = 0}]\n", "global.limits[0].amount", "0", "a whole number from 1 to 1099511627775"),
        ("[global]\nlimits = [{amount = 1, meter = 'words'}]\n", "global.limits[0].meter", "'words'", '"output_tokens"'),
        ("[global]\nlimits = [{amount = 1, meter = {output = 101}}]\n", "global.limits[0].meter.output", "101", "a number from 0 to 100"),
        ("[users.named.'a b']\nlimits = [{amount = 1}]\n[users]\nlimits = [{amount = 1}]\n", "users.named.a b", "'a b'", "1 to 64 letters"),
        ("server = 3\n", "server", "3", "a table of host, port"),
    ],
)  # fmt: skip
def test_a_complaint_names_key_value_and_what_is_accepted(text: str, key: str, value: str, accepted: str) -> None:
    (problem,) = problems(text + UPSTREAM)
    assert key in problem and problem.endswith(f"got {value}") and accepted in problem


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "upstream is missing; it must be an array of 1 to 64"),
        ("[server]\nprot = 1\n" + UPSTREAM, "server.prot: there is no such key; server has host, port,"),
        ("[[upstream]]\nname = 'a'\nlimits = [{amount = 1}]\n", "upstream[0].base_url is missing"),
        ("x = \n", "this is no TOML"),
        (UPSTREAM + UPSTREAM, "2 have the name east"),
        (UPSTREAM + "weight = 0\n", "all have the weight 0"),
        (UPSTREAM + "models = ['a']\n[models.b]\nlimits = [{amount = 1}]\n", "models.b: no upstream serves this model; there are a"),
        (UPSTREAM + "[global]\nlimits = [{kind = 'pacing', amount = 1, burst = 2}]\n", "global.limits[0].burst is not for limits of the kind pacing"),
        (UPSTREAM + "[global]\nlimits = [{kind = 'in_flight', amount = 524288}]\n", "must be from 1 to 524287, got 524288"),
        (UPSTREAM + "[global]\nlimits = [{kind = 'in_flight', amount = 1}, {kind = 'in_flight', amount = 2}]\n", "at most one limit of the kind in_flight"),
        (UPSTREAM + "[global]\nlimits = [{kind = 'fixed_window', amount = 1, time_zone = 'UTC'}]\n", "per must be 86400"),
        (UPSTREAM + "[global]\nlimits = [{kind = 'fixed_window', amount = 1, per = 86400, time_zone = 'Mars'}]\n", "got 'Mars'"),
        (UPSTREAM + "[users]\nlimits = [{amount = 1}]\n[users.named.vip]\nlimits = [{amount = 1, meter = 'tokens'}]\n", "users.named.vip.limits must be of the same kinds"),
        (UPSTREAM + "[admin]\n", "admin must have one of key_env and key_file, got none"),
        (UPSTREAM + "key_env = 'A'\nkey_file = 'b'\n", "upstream[0] must have one of key_env and key_file, got key_env and key_file"),
        (UPSTREAM + "key_env = 'LLMRL_NOT_SET'\n", "the environment variable LLMRL_NOT_SET is not set or empty"),
        (UPSTREAM + "key_file = 'nowhere'\n", "the file 'nowhere' cannot be read: No such file"),
    ],
)  # fmt: skip
def test_what_else_is_wrong(text: str, words: str) -> None:
    assert any(words in problem for problem in problems(text)), problems(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(problems("[server]\nport = -1\nhost = 3\n[admission]\npolicy = 'x'\n" + UPSTREAM)) == 3


def test_keys_come_from_elsewhere_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    monkeypatch.setenv("LLMRL_TEST_KEY", "sk-from-env")
    config = parse(UPSTREAM + "key_file = 'key'\n[clients]\nann = {key_env = 'LLMRL_TEST_KEY'}\n", tmp_path)
    assert config.upstreams[0].key is not None and config.upstreams[0].key.reveal() == "sk-from-file"
    assert config.clients is not None and config.clients["ann"] == Secret("sk-from-env")
    assert "sk-" not in repr(config) and "sk-" not in str(config) and "sk-" not in f"{config.upstreams[0].key}"
    for bad in ("sk-two words", "sk-\x07", "sk-\u00e4"):
        monkeypatch.setenv("LLMRL_TEST_KEY", bad)
        (problem,) = problems(UPSTREAM + "key_env = 'LLMRL_TEST_KEY'\n")
        assert "upstream[0].key_env" in problem and "sk-" not in problem
    monkeypatch.setenv("LLMRL_TEST_KEY", "sk-same")
    (problem,) = problems(UPSTREAM + "[clients]\nann = {key_env = 'LLMRL_TEST_KEY'}\nbob = {key_env = 'LLMRL_TEST_KEY'}\n")
    assert "clients.bob: has the same key as clients.ann" in problem and "sk-" not in problem


def test_the_schema_says_the_same_as_the_checker() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install 'llmrl[test]'")
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    validator = jsonschema.Draft202012Validator(schema.schema())
    toml = module._toml()
    samples = [UPSTREAM, "", UPSTREAM + "weight = 3\n", UPSTREAM + "[server]\nport = -1\n", UPSTREAM + "[server]\nhost = ''\n",
               UPSTREAM + "[clients]\n'a b' = {key_env = 'A'}\n", UPSTREAM + "[global]\nlimits = [{amount = 1, meter = {}}]\n",
               UPSTREAM + "[global]\nlimits = [{amount = 1.5}]\n", UPSTREAM + "[global]\nlimits = [{amount = 2, meter = {input = 0.5}}]\n",
               UPSTREAM.replace("http://a/v1", "ftp://a"), UPSTREAM + "[global]\nlimits = [" + "{amount = 1}," * 9 + "]\n"]  # fmt: skip
    right = []
    for sample in samples:
        table = toml.loads(sample)
        right.append(not list(schema.complaints(table, schema.schema())))
        assert right[-1] == validator.is_valid(table), sample
    assert sum(right) == 3


def llmrl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "llmrl.cli", "serve", *arguments], capture_output=True, text=True)


def test_check_and_schema_on_the_command_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(UPSTREAM)
    bad.write_text("[server]\nport = -1\n" + UPSTREAM)
    done = llmrl("--check", str(good))
    assert done.returncode == 0 and "right. 1 upstreams" in done.stdout
    for arguments in (("--check", str(bad)), (str(bad),)):
        done = llmrl(*arguments)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr == f"{bad}: server.port must be a whole number from 0 to 65535, got -1\n"
    done = llmrl(str(tmp_path / "nowhere.toml"))
    assert done.returncode == 1 and "cannot be read" in done.stderr
    assert llmrl().returncode == 2
    done = llmrl("--schema")
    assert done.returncode == 0 and json.loads(done.stdout) == schema.schema()


def test_help_teaches_and_needs_no_extra() -> None:
    code = "import sys; sys.modules.update(aiohttp=None, fastapi=None, uvicorn=None, starlette=None); from llmrl.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "serve", "--help"], capture_output=True, text=True)
    for words in ("[[upstream]]", "key_env", "SIGHUP", "SIGTERM", "/metrics", "llmrl emulate", "--schema", "Exit status"):
        assert words in done.stdout, words
    assert done.returncode == 0


def test_the_configuration_in_the_help_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrl.cli.serve import EPILOG

    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert len(parse(EPILOG.partition("begins:\n")[2].partition("  llmrl serve --check")[0]).upstreams) == 1


@pytest.mark.parametrize("name", ["README.md", "docs/serve.md"])
def test_the_configurations_in_the_documentation_are_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, variable in enumerate(("OPENAI_API_KEY", "WEST_API_KEY", "SHOP_KEY", "BATCH_KEY", "LLMRL_ADMIN_KEY")):
        monkeypatch.setenv(variable, f"sk-{number}")
    text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in text.split("```toml")[1:]]
    assert examples
    for example in examples:
        assert parse(example).upstreams[0].name == "east"


def test_a_missing_extra_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(UPSTREAM)
    code = "import sys; sys.modules['uvicorn'] = None; from llmrl.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "serve", str(file)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "llmrl serve needs uvicorn, which is not installed: pip install 'llmrl[service]'\n"
