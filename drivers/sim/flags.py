"""Types of command-line flags that several simulated devices take."""

from __future__ import annotations

import argparse


def address(text: str) -> tuple[str, int]:
    """`host:port`; port 0 takes a free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port, e.g. 127.0.0.1:0")
    return host, int(port)


def triple_des_key(text: str) -> bytes:
    """32 hex digits: a double-length DES key."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 16:
        raise argparse.ArgumentTypeError("a key of 32 hex digits is needed")
    return key
