"""Batches, deadlines, gone clients and full queues, on the real tiny model."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
import torch

from core.decoding.prefix_cache import PrefixCache
from core.example.prompt import training_prompt
from oneday.demo.tasks import DEMO_TASKS, draw_pairs
from submission.engine.batcher import Batcher, Limits
from submission.engine.detokenize import Detokenizer, token_texts
from submission.engine.engine import Engine, Overlong, wrap_as_birbal
from submission.engine.generate import Decoder, Row
from submission.engine.job import Completion, Job, Load, OnDone, Take
from submission.engine.request import GenerationRequest
from submission.errors import (
    BrokenError,
    ClosingError,
    DeadlineError,
    GoneError,
    OverlongError,
    QueueFullError,
    TooLargeError,
)
from submission.server.api import ProcessRequest
from tests.demo_model import demo_engine, demo_model


def prompts(num: int) -> list[str]:
    """Of many lengths, from all tasks."""
    rng = random.Random(3)
    found = [training_prompt(task.definition, query) for task in DEMO_TASKS for query, _ in draw_pairs(task, rng, 2)]
    rng.shuffle(found)
    return (found * (1 + num // len(found)))[:num]


def asked(prompt: str, **fields: Any) -> GenerationRequest:
    return ProcessRequest.model_validate({"prompt": prompt, "max_new_tokens": 12, **fields}).generation()


def run(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Completion]:
    """One batch."""
    jobs = [engine.prepare(request) for request in requests]
    found: dict[int, Completion | Exception] = {}
    engine.run(jobs, lambda job, result: found.update({id(job): result}))
    results = [found[id(job)] for job in jobs]
    assert all(isinstance(result, Completion) for result in results), results
    return results  # type: ignore[return-value]


# --- the engine, in batches


SAMPLED = {"temperature": 3.0, "top_p": 0.9, "top_k": 50}


def company(num: int) -> list[GenerationRequest]:
    """Greedy and seeded requests of many lengths, some of which echo their prompt."""
    return [
        asked(prompt, max_new_tokens=4 + n % 13, echo_prompt=n % 5 == 0, **(SAMPLED | {"seed": n} if n % 2 else {}))
        for n, prompt in enumerate(prompts(num))
    ]


@pytest.fixture(scope="module")
def alone() -> list[Completion]:
    """The answers to the first requests of any company, each asked alone."""
    return [demo_engine().process(request) for request in company(4)]


@pytest.mark.parametrize("size", [4, 16, 64])
def test_an_answer_is_the_same_whatever_the_company(alone: list[Completion], size: int) -> None:
    """Tokens are equal and log-probabilities differ by at most 1e-4, as docs/organisers.md promises."""
    together = run(demo_engine(), company(size))
    for one, batched in zip(alone, together, strict=False):
        assert [t.text for t in batched.tokens] == [t.text for t in one.tokens]
        assert batched.finish == one.finish
        for ours, its in zip(batched.tokens, one.tokens, strict=True):
            assert ours.logprob == pytest.approx(its.logprob, abs=1e-4)
    assert len({len(done.tokens) for done in together}) > 2  # rows that end at different times


@pytest.mark.parametrize("size", [1, 4, 16])
def test_an_answer_is_the_same_whether_its_beginning_was_read_before(size: int) -> None:
    """Few-shot prompts, echoed, sampled and greedy, with nothing kept, with room for all and with room for few."""
    shots = "\n\n".join(prompts(6))
    asks = [
        asked(
            f"{shots}\n\n{query}", max_new_tokens=6, echo_prompt=n % 3 == 0,
            **(SAMPLED | {"seed": n} if n % 2 else {}),
        )
        for n, query in enumerate(prompts(16))
    ]  # fmt: skip
    anew = Engine(demo_model(), prefix_bytes=0)
    expected = [anew.process(request) for request in asks]
    assert anew.prefixes.num_reused == anew.prefixes.num_bytes == 0
    for prefix_bytes in (1 << 20, 1 << 28):
        kept = Engine(demo_model(), prefix_bytes=prefix_bytes)
        found = [done for n in range(0, 16, size) for done in run(kept, asks[n : n + size])]
        assert kept.prefixes.num_reused > 0
        assert kept.prefixes.num_bytes <= prefix_bytes
        for one, other in zip(expected, found, strict=True):
            assert [t.text for t in other.tokens] == [t.text for t in one.tokens]
            for ours, its in zip(other.tokens, one.tokens, strict=True):
                assert ours.logprob == pytest.approx(its.logprob, abs=1e-4)
                assert ours.top_logprob == pytest.approx(its.top_logprob, abs=1e-4)


def test_what_prompts_begin_with_is_read_once() -> None:
    """16 prompts at once, then one by one, and the same with their choices scored."""
    shots = "\n\n".join(prompts(6))
    requests = [asked(f"{shots}\n\n{query}", max_new_tokens=1) for query in prompts(16)]
    engine = Engine(demo_model())
    num_shared = len(engine.prepare(asked(f"{shots}\n\n")).prompt_ids) - 2
    run(engine, requests)
    assert engine.prefixes.num_reused > 0.9 * 16 * num_shared  # a short prompt is read as far as a longer one beside it
    before = engine.prefixes.num_reused
    engine.process(asked(f"{shots}\n\nAnother question"))
    assert engine.prefixes.num_reused - before >= num_shared
    before = engine.prefixes.num_reused
    for choice in (" A", " B", " C"):
        engine.process(asked(f"{shots}\n\nQuestion:{choice}", max_new_tokens=0, echo_prompt=True))
    assert engine.prefixes.num_reused - before >= 2 * num_shared


def test_rows_of_a_batch_keep_their_own_stop_strings_lengths_and_echoes() -> None:
    prompt = training_prompt("Write the first word of the list.", "apple, lamp, saw")
    plain, cut, short, echo, nothing = run(
        demo_engine(),
        [
            asked(prompt), asked(prompt, stop_sequences=["pl"]), asked(prompt, max_new_tokens=1),
            asked(prompt, echo_prompt=True), asked(prompt, max_new_tokens=0),
        ],
    )  # fmt: skip
    assert (plain.text, cut.text, echo.text, nothing.text) == ("apple", "ap", prompt + "apple", "")
    assert len(short.tokens) == 1


def test_each_row_is_told_as_soon_as_it_ends() -> None:
    order: list[int] = []
    jobs = [demo_engine().prepare(asked("Anna gave", max_new_tokens=n)) for n in (40, 2, 10)]
    demo_engine().run(jobs, lambda job, result: order.append(job.max_new_tokens))
    assert order == [2, 10, 40]


def test_a_row_that_is_given_up_ends_and_the_others_do_not_notice() -> None:
    looks = 0

    def after_three() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    whole = demo_engine().process(asked("Anna gave", max_new_tokens=30))
    jobs = [
        demo_engine().prepare(asked("Ben", max_new_tokens=200, temperature=9.0, seed=1), is_given_up=after_three),
        demo_engine().prepare(asked("Anna gave", max_new_tokens=30)),
    ]
    found: dict[int, Any] = {}
    demo_engine().run(jobs, lambda job, result: found.update({id(job): result}))
    assert len(found[id(jobs[0])].tokens) == 3
    assert found[id(jobs[1])].text == whole.text


def test_rows_join_a_batch_that_is_on_its_way_and_nobody_notices() -> None:
    requests = [asked(p, max_new_tokens=3 + 4 * (n % 5)) for n, p in enumerate(prompts(20))]
    jobs = [demo_engine().prepare(request) for request in requests]
    waiting, found, loads = list(jobs), {}, []

    def take(load: Load) -> list[Job] | None:
        loads.append(load.num_rows)
        room = min(2, 6 - load.num_rows)  # two at a token, six at most
        taken = [waiting.pop() for _ in range(min(room, len(waiting)))]
        return taken if taken or waiting else None

    demo_engine().serve(take, lambda job, result: found.update({id(job): result}))
    assert max(loads) > 3
    for job, request in zip(jobs, requests, strict=True):
        alone = demo_engine().process(request)
        assert found[id(job)].text == alone.text  # type: ignore[attr-defined]
        assert found[id(job)].logprob == pytest.approx(alone.logprob, abs=1e-3)  # type: ignore[attr-defined]


class TightDecoder(Decoder):
    """Memory for so many rows at once."""

    most = 2
    tried: ClassVar[list[int]] = []

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        self.tried.append(len(self.rows) + len(rows))
        if self.tried[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().admit(rows)


def test_a_batch_that_memory_does_not_hold_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [asked(prompt, temperature=2.0 * (n % 2), seed=n) for n, prompt in enumerate(prompts(7))]
    expected = [demo_engine().process(request).text for request in requests]
    monkeypatch.setattr("submission.engine.work.Decoder", TightDecoder)
    assert [d.text for d in run(demo_engine(), requests)] == expected
    assert TightDecoder.tried[:3] == [7, 3, 1]
    monkeypatch.setattr(TightDecoder, "most", 0)
    found: list[Any] = []
    demo_engine().run([demo_engine().prepare(requests[0])], lambda job, result: found.append(result))
    assert isinstance(found[0], TooLargeError)


def test_an_error_in_the_model_reaches_every_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Decoder):
        def step(self) -> list[Row]:
            raise RuntimeError("device-side assert")

    monkeypatch.setattr("submission.engine.work.Decoder", Broken)
    found: list[str] = []
    jobs = [demo_engine().prepare(asked(p, max_new_tokens=n)) for n, p in enumerate(prompts(3))]
    demo_engine().run(jobs, lambda job, result: found.append(type(result).__name__))
    assert sorted(found) == ["Completion", "Completion", "RuntimeError"]  # none and one token needed no step


# --- text


@pytest.mark.parametrize("text", ["Anna", "a  b", "漢字 und 🙂🙃", "é\n\n\tü", "</s> <s>", "\x00\x7f", "�", "🙂" * 40])
def test_the_texts_of_tokens_in_a_row_are_the_text(text: str) -> None:
    ids = demo_model().encode(text, bos=False)
    texts = token_texts(demo_model().tokenizer, ids)
    assert "".join(texts) == demo_model().tokenizer.decode(ids, skip_special_tokens=False) == text
    context = demo_model().encode("Anna:")
    assert "".join(token_texts(demo_model().tokenizer, ids, context=context)) == demo_model().continuation(context, ids)


def test_a_character_counts_for_the_token_that_completes_it_and_a_cut_one_reads_u_fffd() -> None:
    ids = demo_model().encode("a🙂", bos=False)
    *_, last = texts = token_texts(demo_model().tokenizer, ids)
    assert last == "🙂"
    assert texts.count("") == 3
    assert token_texts(demo_model().tokenizer, ids[:-1])[-1].endswith("\ufffd")


def test_bytes_that_never_make_a_character_do_not_hold_the_text_back() -> None:
    stray = demo_model().tokenizer.convert_tokens_to_ids("<0x9F>")
    stream = Detokenizer(demo_model().tokenizer, context=demo_model().encode("a"))
    texts = [stream.push(stray) for _ in range(20)]
    assert any(texts)
    assert set("".join(texts) + stream.finish()) == {"\ufffd"}


def test_decoding_a_long_answer_does_not_grow_with_its_length() -> None:
    calls: list[int] = []

    class Counting:
        def decode(self, ids: list[int], **options: Any) -> str:
            calls.append(len(ids))
            return str(demo_model().tokenizer.decode(ids, **options))

    ids = demo_model().encode("Anna gave the lamp to Ben. " * 40, bos=False)
    assert "".join(token_texts(Counting(), ids)) == "Anna gave the lamp to Ben. " * 40
    assert max(calls) <= 16


def test_a_lone_word_mark_has_a_text_as_an_alternative() -> None:
    mark = demo_model().tokenizer.convert_tokens_to_ids("▁")
    assert demo_engine()._piece(mark) == " "


# --- what an organiser asks for


def test_over_long_prompts_are_refused_if_asked_to() -> None:
    engine = Engine(demo_model(), overlong=Overlong.REFUSE)
    with pytest.raises(OverlongError, match=r"the prompt has \d+ tokens or more; .* fit the window"):
        engine.prepare(asked("word " * 5_000))
    engine.prepare(asked("word " * 100))


def test_birbal_compatibility_wraps_short_prompts_and_cuts_at_a_blank_line() -> None:
    assert wrap_as_birbal("Question?") == "### Input:\nQuestion?\n\n### Response:\n"
    assert wrap_as_birbal("a\n\nb\n\nc") == "a\n\nb\n\nc"
    job = Engine(demo_model(), birbal=True).prepare(asked("Question?", stop_sequences=["x"]))
    assert job.stop == ("x", "\n\n")
    assert list(job.prompt_ids) == demo_model().encode("### Input:\nQuestion?\n\n### Response:\n")


def test_the_self_check_names_a_model_that_answers_with_nothing() -> None:
    assert all("decode" not in warning for warning in demo_engine().check_itself())

    class Blank(Engine):
        def process(self, request: GenerationRequest) -> Completion:
            return Completion(text=" ", tokens=(), logprob=0)

    assert "multiple choice in HELM would score 0" in Blank(demo_model()).check_itself()[0]


# --- the queue


class Slow(Engine):
    """Notes what it begins with, and waits for the test before."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(demo_model())
        self.begun: list[list[int]] = []
        self.most = 0
        self.seconds = seconds
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def serve(self, take: Take, on_done: OnDone) -> None:
        def noting(load: Load) -> list[Job] | None:
            jobs = take(load)
            if jobs:
                self.begun.append([job.max_new_tokens for job in jobs])
                self.most = max(self.most, load.num_rows + len(jobs))
                self.entered.set()
                self.go.wait(10)
                until = time.monotonic() + self.seconds
                while time.monotonic() < until and not all(job.is_given_up() for job in jobs):
                    time.sleep(0.005)
            return jobs

        super().serve(noting, on_done)


async def here() -> bool:
    return False


def in_loop(engine: Engine, body: Callable[[Batcher], Any], **limits: Any) -> Any:
    async def main() -> Any:
        async with Batcher(lambda: engine, Limits(**limits)) as batcher:
            await batcher.loaded
            return await asyncio.wait_for(body(batcher), 30)

    return asyncio.run(main())


async def behind_one(engine: Slow, batcher: Batcher, requests: Sequence[GenerationRequest]) -> list[Any]:
    """Sends one, and the others when the model is at work on it; lets it go on when all of them wait."""
    engine.go.clear()
    tasks = [asyncio.create_task(batcher.answer(asked("Anna"), is_gone=here))]
    while not engine.entered.is_set():
        await asyncio.sleep(0.005)
    tasks += [asyncio.create_task(batcher.answer(request, is_gone=here)) for request in requests]
    while batcher.num_waiting < len(requests):
        await asyncio.sleep(0.005)
    return tasks


def test_requests_that_wait_together_are_answered_together() -> None:
    engine = Slow()
    requests = [asked(p, max_new_tokens=n) for n, p in enumerate(prompts(10), start=1)]

    async def body(batcher: Batcher) -> list[Completion]:
        tasks = await behind_one(engine, batcher, requests)
        engine.go.set()
        return list(await asyncio.gather(*tasks))

    done = in_loop(engine, body, max_batch=4, batch_wait_s=0.0)
    assert [d.text for d in done[1:]] == [demo_engine().process(request).text for request in requests]
    assert engine.most == 4
    assert len(engine.begun[1]) == 3  # beside the one that is on its way
    assert 1 in engine.begun[1]  # the oldest of those that waited
    assert sorted(n for begun in engine.begun[1:] for n in begun) == list(range(1, 11))


def test_a_batch_holds_no_more_tokens_than_allowed() -> None:
    engine = Slow()

    async def body(batcher: Batcher) -> Any:
        tasks = await behind_one(engine, batcher, [asked("Anna", max_new_tokens=100)] * 6)
        engine.go.set()
        return await asyncio.gather(*tasks)

    in_loop(engine, body, max_batch=16, batch_wait_s=0.0, batch_tokens=330)
    assert engine.most == 3


def test_a_full_queue_says_so() -> None:
    engine = Slow()

    async def body(batcher: Batcher) -> None:
        tasks = await behind_one(engine, batcher, [asked("Anna")] * 3)
        with pytest.raises(QueueFullError, match="3 requests wait already"):
            await batcher.answer(asked("Ben"), is_gone=here)
        engine.go.set()
        await asyncio.gather(*tasks)

    in_loop(engine, body, max_waiting=3, max_batch=1, batch_wait_s=0.0)


@pytest.mark.timed
def test_a_deadline_ends_a_request_and_its_row() -> None:
    engine = Slow(seconds=20)

    async def body(batcher: Batcher) -> float:
        start = time.monotonic()
        with pytest.raises(DeadlineError, match=r"within 0\.3 s"):
            await batcher.answer(asked("Anna"), is_gone=here)
        return time.monotonic() - start

    start = time.monotonic()
    assert 0.25 < in_loop(engine, body, deadline_s=0.3) < 2
    assert time.monotonic() - start < 5  # the model's thread was told


def test_a_client_that_went_away_frees_its_place() -> None:
    engine = Slow(seconds=20)

    async def gone() -> bool:
        return bool(engine.begun)

    async def body(batcher: Batcher) -> None:
        with pytest.raises(GoneError):
            await batcher.answer(asked("Anna"), is_gone=gone)
        engine.seconds = 0
        assert (await batcher.answer(asked("Anna"), is_gone=here)).text == demo_engine().process(asked("Anna")).text

    in_loop(engine, body)


@pytest.mark.timed
def test_waiting_for_the_tokenizer_counts_against_the_deadline_and_the_queue() -> None:
    async def body(batcher: Batcher) -> None:
        slow = [asyncio.create_task(batcher.text(lambda engine: time.sleep(0.5))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError):
            await batcher.text(lambda engine: None)
        found = await asyncio.gather(*slow, return_exceptions=True)
        assert [type(f).__name__ for f in found] == ["NoneType", "DeadlineError"]

    in_loop(demo_engine(), body, max_waiting=2, deadline_s=0.8)


def test_a_model_that_ends_answers_everyone_and_nobody_waits_for_it() -> None:
    class Dying(Engine):
        def serve(self, take: Take, on_done: OnDone) -> None:
            take(Load(num_rows=0, size=0))
            raise RuntimeError("CUDA error: an illegal memory access")

    async def body(batcher: Batcher) -> None:
        for _ in range(2):
            with pytest.raises(BrokenError, match="illegal memory access"):
                await batcher.answer(asked("Anna"), is_gone=here)

    in_loop(Dying(demo_model()), body)


def test_closing_ends_what_is_not_answered_in_time() -> None:
    engine = Slow(seconds=20)

    async def body(batcher: Batcher) -> None:
        task = asyncio.create_task(batcher.answer(asked("Anna"), is_gone=here))
        await asyncio.sleep(0.2)
        batcher.close_within(0.2)
        with pytest.raises(ClosingError):
            await task

    in_loop(engine, body)


def test_an_idle_engine_keeps_no_rows() -> None:
    decoder = Decoder(demo_model(), PrefixCache(0))
    job = demo_engine().prepare(asked("Anna", max_new_tokens=2))
    decoder.admit([demo_engine().row(job)])
    while decoder.rows:
        decoder.step()
    assert decoder._columns.num_columns == 0


def test_an_empty_prompt_has_nothing_to_echo_even_without_bos() -> None:
    class NoBos(Engine):
        def prepare(self, request: GenerationRequest, **options: Any) -> Job:
            self._tokenizer.bos_token = None
            return super().prepare(request, **options)

    job = NoBos(demo_model()).prepare(asked("", echo_prompt=True))
    assert not job.request.echo
    assert list(job.prompt_ids) == [demo_model().tokenizer.eos_token_id]
