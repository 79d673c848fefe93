"""Moments as people write them for a command."""

from datetime import UTC, datetime
from typing import Any

import click


class Moment(click.ParamType[int]):
    """RFC 3339 text -> UTC ms; without an offset it means UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no moment; write it like 2026-01-05T10:00Z", param, ctx)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()) * 1000
