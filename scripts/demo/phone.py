"""The driver's phone: a browser without pictures. Gets pages, fills the form that is there, follows redirects."""

import http.client
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

MOST_REDIRECTS = 5


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, words


@dataclass
class Page:
    """What a driver sees: `text` is all of it, `forms` and `links` are what can be pressed."""

    url: str
    status: int
    headers: dict[str, str]
    html: str
    text: str = ""
    forms: list[Form] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # words -> address


class Phone:
    """One phone. `language` is its Accept-Language."""

    def __init__(self, language: str = "en") -> None:
        self.language = language

    def get(self, url: str) -> Page:
        return self._go("GET", url, b"")

    def post(self, url: str, body: bytes) -> Page:
        """What no form of ours would send."""
        return self._go("POST", url, body)

    def press(self, page: Page, words: str, **filled: str) -> Page:
        """Press the button with these words, its form filled in as said."""
        for form in page.forms:
            for name, value, said in form.buttons:
                if words in said:
                    fields = {**form.fields, **filled, **({name: value} if name else {})}
                    return self._go(form.method.upper(), urljoin(page.url, form.action), urlencode(fields).encode())
        raise RuntimeError(f"no button {words!r} on the phone: {page.text}")

    def _go(self, method: str, url: str, body: bytes) -> Page:
        for _ in range(MOST_REDIRECTS):
            status, headers, html = self._ask(method, url, body)
            if status not in (302, 303, 307):
                return _read(url, status, headers, html)
            method, url, body = "GET", urljoin(url, headers["location"]), b""
        raise RuntimeError("the phone is redirected for ever")

    def _ask(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, str], str]:
        parts = urlsplit(url)
        link = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        try:
            headers = {"Accept-Language": self.language}
            if method == "POST":
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            link.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body or None, headers)
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            link.close()


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page, self._link, self._button, self._unseen = page, "", False, False
        self._form = Form(page.url, "get")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        match tag:
            case "title":
                self._unseen = True
            case "form":
                self._form = Form(given.get("action", ""), given.get("method", "get"))
                self._page.forms.append(self._form)
            case "input":
                self._form.fields[given.get("name", "")] = given.get("value", "")
            case "button":
                self._button = True
                self._form.buttons.append((given.get("name", ""), given.get("value", ""), ""))
            case "a":
                self._link = given.get("href", "")

    def handle_endtag(self, tag: str) -> None:
        self._button = self._button and tag != "button"
        self._unseen = self._unseen and tag != "title"
        self._link = "" if tag == "a" else self._link

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if not words or self._unseen:
            return
        self._page.text += f"{words} "
        if self._button:
            name, value, _ = self._form.buttons[-1]
            self._form.buttons[-1] = name, value, words
        if self._link:
            self._page.links[words] = urljoin(self._page.url, self._link)


def _read(url: str, status: int, headers: dict[str, str], html: str) -> Page:
    page = Page(url, status, headers, html)
    _Reader(page).feed(html)
    return page
