"""Source verdicts: a table accepts or rejects each website. Websites that are not listed are rejected.

    registered_domain("https://blog.example.idv.tw/a")      # "example.idv.tw"

A website is a registered domain by the public suffix list. One verdict covers all its subdomains, and
`example.tw.evil.com` belongs to `evil.com`.

Source: the quality assessment by website of Taiwan LLM (2023).

Where it sits: rows -> **verdicts**.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from core.errors import MixError
from core.model.token_counter import TokenCounter
from core.records.record import Rejected
from core.stage import Dropped
from curation.builders.rows import InputSpec, IsInput, Row, distinct, dropped_record, records, row_of
from curation.builders.work import BuildContext, BuildOptions, Output, num_tokens, token_counter

DOCUMENT = "document"
"""Unit of the documents."""

ACCEPTED = frozenset(["accept", "accepted", "keep", "good", "pass", "yes", "true", "1"])
REJECTED = frozenset(["reject", "rejected", "drop", "bad", "fail", "no", "false", "0"])
"""Spellings of the two verdicts in lower case."""

URLS = ("url", "domain", "site", "host")
"""Columns with the address of a document, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictOptions(BuildOptions):
    """Options of source verdicts."""

    data: Annotated[tuple[str, ...], IsInput()]
    """Documents with a url: FILE, NAME=FILE, or FILE#KEY to read one key of each record."""
    verdicts: Path
    """Table with domain and verdict (accept or reject), and optionally source, by which documents are counted."""
    tokenizer: Path | None = None
    """Folder of the base model, or its tokenizer file, to count tokens with."""
    private_suffixes: bool = False
    """Treat each name below a private suffix, such as blogspot.com, as a website of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on a website."""

    is_accepted: bool
    source: str
    """Group in which its documents are counted."""


@dataclass(slots=True, kw_only=True)
class _Count:
    documents: int = 0
    tokens: int = 0


@dataclass(slots=True, kw_only=True)
class SourceCounts:
    """Number of kept documents and tokens by source."""

    counts: dict[str, _Count] = field(default_factory=dict)

    def add(self, source: str, tokens: int) -> None:
        """Counts a document."""
        count = self.counts.setdefault(source, _Count())
        count.documents += 1
        count.tokens += tokens

    def lines(self) -> list[dict[str, str | int | float | None]]:
        """Returns the lines of the table, the largest source first and the total last."""
        total = sum(count.tokens for count in self.counts.values())
        found = sorted(self.counts.items(), key=lambda item: (-item[1].tokens, item[0]))
        rows = [(name, count.documents, count.tokens) for name, count in found]
        rows.append(("total", sum(documents for _, documents, _ in rows), total))
        return [
            {"source": name, "documents": documents, "tokens": tokens, "token share": _share(tokens, total)}
            for name, documents, tokens in rows
        ]


def _share(tokens: int, total: int) -> float | None:
    return round(tokens / total, 6) if total else None


def outputs(options: VerdictOptions, context: BuildContext) -> Iterator[Output]:
    """Yields one file with the accepted documents."""
    counter = token_counter(options.tokenizer, "the table shows tokens by source")
    verdicts = read_verdicts(options.verdicts, private=options.private_suffixes)
    yield Output(
        name="documents",
        items=_judged(options, verdicts, counter, context),
        num_in=lambda: context.num_in[DOCUMENT],
        unit=DOCUMENT,
    )


def _judged(
    options: VerdictOptions, verdicts: Mapping[str, Verdict], counter: TokenCounter, context: BuildContext
) -> Iterator[Row | Dropped]:
    counts = SourceCounts()
    for data in distinct([InputSpec.parse(text) for text in options.data]):
        for record in context.records(data):
            row = row_of(record, data)
            if isinstance(row, Rejected):
                context.drop(dropped_record(row, data))
                continue
            context.num_in[DOCUMENT] += 1
            site = registered_domain(_url(record.columns), private=options.private_suffixes)
            verdict = verdicts.get(site)
            if reason := _reason(site, verdict):
                yield Dropped(unit=DOCUMENT, id=row.id, reason=reason, detail=site, source=data.name)
            elif verdict is not None:
                counts.add(verdict.source, num_tokens(counter, row))
                yield row.in_mixture() if len(options.data) > 1 else row
    context.tables["kept, by source"] = counts.lines()


def _reason(site: str, verdict: Verdict | None) -> str:
    """Returns the reason to drop a document; empty if it is accepted."""
    if not site:
        return "no_website"
    if verdict is None:
        return "not_listed"
    return "" if verdict.is_accepted else "rejected"


def _url(columns: Mapping[str, Any]) -> str:
    return next((columns[name] for name in URLS if isinstance(columns.get(name), str) and columns[name]), "")


def read_verdicts(path: Path, *, private: bool = False) -> dict[str, Verdict]:
    """Reads the table of verdicts by registered domain.

    Raises:
        MixError: a line lacks a domain or a verdict, or two lines contradict each other.
    """
    verdicts: dict[str, Verdict] = {}
    for item in records(InputSpec.parse(str(path))):
        if isinstance(item, Rejected):
            raise MixError(f"{item}. Mend the line.")
        site = registered_domain(_url(item.columns), private=private)
        word = str(item.columns.get("verdict", "")).strip().lower()
        if not site or word not in ACCEPTED | REJECTED:
            raise MixError(f"{item.place}: lacks `domain`, or `verdict` as accept or reject. Mend the line.")
        verdict = Verdict(is_accepted=word in ACCEPTED, source=str(item.columns.get("source") or site))
        if verdicts.setdefault(site, verdict) != verdict:
            raise MixError(f"{item.place}: {site} has another verdict or source in an earlier line. Keep one of them.")
    if not verdicts:
        raise MixError(f"{path}: no verdict in it. Give a table of domain and verdict.")
    return verdicts


def registered_domain(url: str, *, private: bool = False) -> str:
    """Returns the registered domain of a URL or host, or its IP address; empty if it has neither.

    Args:
        private: Whether private suffixes of the list, such as blogspot.com, count as suffixes.
    """
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    host = host.strip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return _suffixes(private).privatesuffix(_ascii(host)) or ""


def _ascii(host: str) -> str:
    """Converts an internationalised name to ASCII, so that both spellings give the same website."""
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return host.lower()


@cache
def _suffixes(private: bool) -> Any:
    """Loads the list that the package contains. Nothing is downloaded."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=not private)
