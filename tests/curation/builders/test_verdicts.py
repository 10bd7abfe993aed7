"""Source verdicts by registered domain, and mixture tables with the counts that files must have."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import MixError
from curation.builders.verdicts import SourceCounts, registered_domain
from oneday.demo.demo import DEMO_BASE
from tests.curation.builders.examples import built, chats, dropped, lines, write


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://blog.example.idv.tw/a?b=//c", "example.idv.tw"),
        ("http://example.tw.evil.com:8080/", "evil.com"),
        ("notexample.tw", "notexample.tw"),
        ("WWW.Example.TW.", "example.tw"),
        ("https://user@news.example.com.tw/x", "example.com.tw"),
        ("https://例子.台灣/", "xn--fsqu00a.xn--kpry57d"),
        ("https://xn--fsqu00a.xn--kpry57d/", "xn--fsqu00a.xn--kpry57d"),
        ("http://192.0.2.7/a", "192.0.2.7"),
        ("http://[2001:db8::1]/a", "2001:db8::1"),
        ("https://somebody.blogspot.com/", "blogspot.com"),
        ("idv.tw", ""),
        ("", ""),
        ("http://[broken", ""),
    ],
)
def test_a_website_is_its_registered_domain(url: str, site: str) -> None:
    assert registered_domain(url) == site


def test_a_name_below_a_suffix_of_a_company_may_be_a_website() -> None:
    assert registered_domain("https://a.somebody.blogspot.com/", private=True) == "somebody.blogspot.com"


DOCUMENTS = [
    ("good", "https://blog.example.idv.tw/1"),
    ("good too", "https://example.idv.tw/2"),
    ("bad", "https://www.bad.com/"),
    ("bad too", "https://deep.www.bad.com/"),
    ("not listed", "https://example.tw.evil.com/"),
    ("another name", "https://notexample.tw/"),
    ("nowhere", ""),
]


def judge(folder: Path, run: str, table: str, **settings: Any) -> dict[str, str]:
    """Id -> reason of the documents that were left out."""
    (folder / "sites.csv").write_text(table)
    data = write(folder / "crawl.jsonl", ({"id": text, "url": url, "text": text} for text, url in DOCUMENTS))
    settings = {"tokenizer": str(DEMO_BASE), **settings}
    found = built("verdicts", folder / run, data=[data], verdicts=str(folder / "sites.csv"), **settings)
    assert [line["id"] for line in lines(found.files["documents"].path)] == ["good", "good too"]
    (only, total) = found.tables["kept, by source"]
    assert (only["documents"], only["token share"], total["tokens"]) == (2, 1.0, only["tokens"])
    return {drop["id"]: drop["reason"] for drop in dropped(folder / run)}


TABLE = "domain,verdict,source\nexample.idv.tw,accept,News\nwww.bad.com,reject,Forum\nexample.tw,accept,News\n"


def test_one_verdict_covers_all_subdomains_and_what_is_not_listed_is_left_out(tmp_path: Path) -> None:
    assert judge(tmp_path, "run", TABLE) == {
        "bad": "rejected", "bad too": "rejected", "not listed": "not_listed", "another name": "not_listed",
        "nowhere": "no_website",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (TABLE + "blog.example.idv.tw,reject,News\n", r"sites.csv:5: example.idv.tw has another verdict"),
        ("domain,verdict\nexample.tw,perhaps\n", r"sites.csv:2: lacks `domain`, or `verdict`"),
        ("domain,verdict\n", "no verdict in it"),
    ],
)
def test_a_table_that_does_not_say_what_to_do_is_refused(table: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(MixError, match=told):
        judge(tmp_path, "run", table)


def test_tokens_are_summed_and_shares_are_of_the_sum() -> None:
    counts = SourceCounts()
    for source, tokens in (("News", 104), ("Social media", 100), ("Social media", 66), ("Books", 81)):
        counts.add(source, tokens)
    assert [(line["source"], line["documents"], line["tokens"]) for line in counts.lines()] == [
        ("Social media", 2, 166), ("News", 1, 104), ("Books", 1, 81), ("total", 4, 351),
    ]  # fmt: skip
    assert counts.lines()[0]["token share"] == round(166 / 351, 6)


def table(folder: Path, *expected: tuple[str, int]) -> str:
    rows = [f"{name},{name}.jsonl,{count},CC0,people,no" for name, count in expected]
    path = folder / "table.csv"
    path.write_text("\n".join(["name,path,expected_count,licence,prompts_from,llm_generated", *rows]) + "\n")
    return str(path)


def test_a_mixture_has_the_rows_that_its_table_says(tmp_path: Path) -> None:
    for name, num in (("first", 3), ("second", 2)):
        chats(tmp_path / f"{name}.jsonl", num)
    found = built("table", tmp_path / "run", table=table(tmp_path, ("second", 2), ("first", 3)))
    rows = lines(found.files["mixture"].path)
    assert [row["id"] for row in rows] == ["second/0", "second/1", "first/0", "first/1", "first/2"]
    assert {row["licence"] for row in rows} == {"CC0"}
    assert found.tables["mixture"][-1] == {"name": "total", "expected": 5, "rows": 5}


def test_another_count_ends_the_build_and_leaves_the_reasons(tmp_path: Path) -> None:
    chats(tmp_path / "first.jsonl", 3)
    with (tmp_path / "first.jsonl").open("a") as file:
        file.write('{"messages": []}\n')
    with pytest.raises(MixError, match=r"rows of first 3 instead of 4\. 1 records gave no row, see dropped\.jsonl"):
        built("table", tmp_path / "run", table=table(tmp_path, ("first", 4)))
    assert not (tmp_path / "run" / "01_rows" / "mixture.jsonl").exists()
    assert [drop["id"] for drop in dropped(tmp_path / "run")] == ["line-4"]
    built("table", tmp_path / "run", table=table(tmp_path, ("first", 3)))
    for wrong, told in (
        ("first,,3,,,", "lacks `name`"),
        ("a,b,3,,,perhaps", "Write yes or no"),
        ("a,b,no,,,", "lacks"),
    ):
        header = "name,path,expected_count,licence,prompts_from,llm_generated\n"
        (tmp_path / "wrong.csv").write_text(header + wrong + "\n")
        with pytest.raises(MixError, match=told):
            built("table", tmp_path / "wrong", table=str(tmp_path / "wrong.csv"))


def test_the_table_of_taiwan_llm_sums_to_what_is_printed(shared_data: Path, tmp_path: Path) -> None:
    import json

    from curation.builders.table import read_table

    values = json.loads((shared_data / "papers" / "taiwan.json").read_text())["values"]
    rows = [(value["row"], value["value"]) for value in values if value["table"] == "2"]
    entries = read_table(Path(table(tmp_path, *rows)))
    assert sum(entry.expected_count for entry in entries) == 517_642
    assert {entry.data.name: entry.expected_count for entry in entries}["twllm.com Feedback"] == 20_000
