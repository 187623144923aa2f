"""Where a batch goes, and with which key."""

from __future__ import annotations

import argparse
import ipaddress
import os
from typing import Optional
from urllib.parse import urlsplit

from .providers import PROVIDERS

KEY_NAMES = frozenset(provider.api_key_env for provider in PROVIDERS.values())


class UsageError(Exception):
    """Something about the command line or the files; one line of text."""


def api_key(args: argparse.Namespace) -> Optional[str]:
    """The key from the environment, checked. The messages never contain it."""
    name = args.api_key_env
    key = os.environ.get(name, "").strip()
    if not key:
        if is_loopback(args.base_url):
            return None
        # Somebody may have given the key itself as the name, so a name of their own is not repeated.
        shown = name if name in KEY_NAMES else "named by --api-key-env"
        raise UsageError(f"the environment variable {shown} is not set; it must hold the API key (export NAME=...)")
    if not all(33 <= ord(c) <= 126 for c in key):
        raise UsageError("the API key in the environment has characters that no key has (spaces, line breaks, ...)")
    return key


def aim(args: argparse.Namespace) -> str:
    """Fill in the address and the name of the key's variable. Returns the header that the key goes into."""
    from llmrl.http import read_request

    from .batch_input import Request, read_batch

    name = args.provider
    if name is None:
        first = next((item for item in read_batch(args.input) if isinstance(item, Request)), None)
        name = read_request(first.url).provider if first is not None else ""
    provider = PROVIDERS.get(name, PROVIDERS["openai"])
    key_name = provider.api_key_env or ""
    if args.base_url is None:
        args.base_url = os.environ.get(key_name.replace("_API_KEY", "_BASE_URL")) or provider.base_url
        if args.base_url is None:
            raise UsageError(f"--provider {name} has no address that is the same for everybody: give yours with --base-url")
    if args.api_key_env is None:
        args.api_key_env = key_name
    return provider.key_header


def check_base_url(url: str) -> None:
    """Raise UsageError unless ``url`` is a plain http(s) address."""
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if "@" in parts.netloc:
        raise UsageError("--base-url must not contain a user name or password; the key belongs into the environment")
    if not usable or parts.query or parts.fragment or any(ord(c) <= 32 for c in url):
        raise UsageError(f"--base-url needs an address such as https://api.openai.com/v1, not {url!r}")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
