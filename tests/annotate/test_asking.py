"""The whole verb against a chat server on loopback, one fault after the other."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewardkit.annotate.calls import CALLS_FILE
from rewardkit.annotate.log import LOG_FILE, LogLine, read_log
from rewardkit.cli import run

GROUPS = 7


def ask(server: Any, images: Path, out: Path, *more: str) -> int:
    """One run against the server, with short pauses."""
    who = [f"annotators=judge@{server.url}"] if not any(word.startswith("annotators=") for word in more) else []
    return run(["annotate", f"images={images}", f"out={out}", *who, "first_pause_s=0.01", *more])


def lines(out: Path) -> list[LogLine]:
    return list(read_log(out))


@pytest.fixture(autouse=True)
def _only_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of the log is tested elsewhere (test_fold_command.py), and takes longer than the asking."""
    monkeypatch.setattr("rewardkit.commands.annotate_fold.fold_log", lambda *_, **__: None)


@pytest.fixture
def images(demo_folders: tuple[Path, Path]) -> Path:
    return demo_folders[1]


def test_every_group_is_asked_once_and_never_again(server: Any, images: Path, tmp_path: Path, capsys: Any) -> None:
    assert ask(server, images, tmp_path / "a", "repeats=2") == 0
    found = lines(tmp_path / "a")
    assert len(found) == len({line.request for line in found}) == len(server.calls) == 2 * GROUPS
    assert all(line.outcome == "ok" and len(line.scores) == 16 for line in found)
    by_group: dict[str, list[LogLine]] = {}
    for line in found:
        by_group.setdefault(line.group, []).append(line)
    for pair in by_group.values():
        first, second = sorted(pair, key=lambda line: line.repeat)
        assert first.order == second.order[::-1]
    asked = len(server.calls)
    assert ask(server, images, tmp_path / "a", "repeats=2") == 0
    assert len(server.calls) == asked
    assert "0 requests in 0 calls" in capsys.readouterr().out
    assert ask(server, images, tmp_path / "a", "repeats=3") == 0  # more of the same goes on
    assert len(server.calls) == asked + GROUPS
    for line in found:  # the candidates that were shown got what the model said of them
        (body,) = [b for b in server.bodies if b["seed"] == line.repeat and _shows(b, line)]
        said = json.loads(line.attempts[0].text)
        assert [said[f"image_{n + 1}"]["aesthetic"]["score"] for n in range(4)] == [
            next(s.value for s in line.scores if (s.candidate, s.question) == (c, "aesthetic")) for c in line.order
        ]
        assert body["response_format"]["json_schema"]["schema"]["required"] == [f"image_{n}" for n in (1, 2, 3, 4)]


def _shows(body: Any, line: LogLine) -> bool:
    return any(json.dumps(line.prompt, ensure_ascii=False) in p.get("text", "") for p in body["messages"][0]["content"])


def test_one_image_at_a_time(server: Any, images: Path, tmp_path: Path) -> None:
    assert ask(server, images, tmp_path / "a", "mode=per_image", "image_side=32", "image_format=png") == 0
    found = lines(tmp_path / "a")
    assert len(found) == 4 * GROUPS and all(line.mode == "per_image" and len(line.order) == 1 for line in found)
    url = server.bodies[0]["messages"][0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")


def test_faults_of_the_way_are_retried_and_answers_repaired(
    annotator_server: Any, server: Any, images: Path, tmp_path: Path
) -> None:
    shares = {"429": 0.1, "500": 0.1, "reset": 0.1, "truncate": 0.05, "malformed": 0.15, "wrong_form": 0.1}
    server.fault = annotator_server.random_faults(shares, seed=4)
    assert ask(server, images, tmp_path / "a", "mode=per_image", "retries=20", "repairs=20") == 0
    found = lines(tmp_path / "a")
    assert [line.outcome for line in found] == ["ok"] * 4 * GROUPS
    attempts = [attempt for line in found for attempt in line.attempts]
    assert len(attempts) > len(found) and sum(attempt.retries for attempt in attempts) > 3
    assert len(server.calls) == len(attempts) + sum(attempt.retries for attempt in attempts)
    assert all(
        (attempt.problem is None) == (n == len(line.attempts) - 1)
        for line in found
        for n, attempt in enumerate(line.attempts)
    )
    repaired = next(body for body in server.bodies if len(body["messages"]) == 3)
    assert repaired["messages"][1]["role"] == "assistant"
    assert "cannot be used" in repaired["messages"][2]["content"][0]["text"]
    clean = tmp_path / "b"
    server.fault = lambda asked: None
    assert ask(server, images, clean, "mode=per_image") == 0
    assert {line.request: line.scores for line in lines(clean)} == {line.request: line.scores for line in found}
    figures = json.loads((tmp_path / "a" / "annotate.json").read_text())["asking"]["all"]
    assert figures["repairs"] == len(attempts) - len(found)
    assert figures["unknown_calls"] > 0  # resets and cut-off bodies may have been charged


def test_what_cannot_be_repaired_is_invalid_and_refusals_are_refused(server: Any, images: Path, tmp_path: Path) -> None:
    faults = {0: "refusal", 1: "refusal_field", 2: "400:content_filter"}
    bad: set[str] = set()

    def fault(asked: Any) -> str | None:
        if asked.number == 3:
            bad.add(asked.key.partition("-")[0])
        return "malformed" if asked.key.partition("-")[0] in bad else faults.get(asked.number)

    server.fault = fault
    assert ask(server, images, tmp_path / "a", "repairs=2", "concurrency=1") == 0
    found = lines(tmp_path / "a")
    assert Counter(line.outcome for line in found) == {"refused": 3, "invalid": 1, "ok": GROUPS - 4}
    invalid = next(line for line in found if line.outcome == "invalid")
    assert len(invalid.attempts) == 3 and "not one JSON object" in str(invalid.reason)
    assert all(line.scores == () for line in found if line.outcome != "ok")
    assert all(line.reason for line in found if line.outcome == "refused")


def test_a_server_that_asks_to_wait_is_waited_for(server: Any, images: Path, tmp_path: Path) -> None:
    server.fault = lambda asked: "429" if asked.number == 0 else None
    server.retry_after = "1"
    began = time.monotonic()
    assert ask(server, images, tmp_path / "a", "concurrency=1") == 0
    assert time.monotonic() - began >= 1


def test_a_stalled_answer_is_given_up_and_asked_again(server: Any, images: Path, tmp_path: Path) -> None:
    server.fault = lambda asked: "stall" if asked.number == 2 else None
    assert ask(server, images, tmp_path / "a", "timeout_s=2") == 0
    assert len(lines(tmp_path / "a")) == GROUPS and len(server.calls) == GROUPS + 1


def test_answers_that_are_none_are_asked_again(server: Any, images: Path, tmp_path: Path) -> None:
    faults = ("html", "empty", "no_choices", "truncate", "drip", "list")
    server.fault = lambda asked: faults[asked.number] if asked.number < len(faults) else None
    assert ask(server, images, tmp_path / "a", "timeout_s=3") == 0
    found = lines(tmp_path / "a")
    assert [line.outcome for line in found] == ["ok"] * GROUPS
    assert (
        sum(attempt.retries for line in found for attempt in line.attempts)
        == len(faults) - 1
        == len(server.calls) - GROUPS
    )


def test_an_image_that_cannot_be_read_is_named_and_the_rest_is_asked(server: Any, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for n in range(14):
        rows.append({"id": f"{n}", "prompt": "p"})
        Image.new("RGB", (64, 48), (n, 0, 0)).save(folder / f"{n}.png")
        if n > 1:  # more in a row than calls may fail in a row
            data = (folder / f"{n}.png").read_bytes()
            (folder / f"{n}.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert ask(server, folder, tmp_path / "a", f"prompts={tmp_path / 'p.jsonl'}", "image_format=jpeg") == 1
    assert "group 2: " in capsys.readouterr().err
    assert {line.group for line in lines(tmp_path / "a")} == {"0", "1"}


@pytest.mark.parametrize(
    ("fault", "code", "told"),
    [
        ("403", 2, "denies access"),
        ("404", 2, "does not know the model 'judge'"),
        ("429:insufficient_quota", 2, "quota"),
        ("500", 1, "requests could not be asked|in a row"),
        ("400", 1, "400: this is a simulated failure"),
    ],
)
def test_what_asking_again_does_not_cure_is_told(
    server: Any, images: Path, tmp_path: Path, capsys: Any, fault: str, code: int, told: str
) -> None:
    answered = iter(range(10**6))
    server.fault = lambda asked: fault if next(answered) >= 3 else None
    assert ask(server, images, tmp_path / "a", "concurrency=1", "retries=1") == code
    error = capsys.readouterr().err
    assert re.search(told, error), error
    assert len(lines(tmp_path / "a")) == 3  # what was answered stays
    if code == 2:
        assert len(server.calls) == 4
    server.fault = lambda asked: None
    assert ask(server, images, tmp_path / "a", "concurrency=1") == 0
    assert len(lines(tmp_path / "a")) == GROUPS


def test_the_key_comes_from_the_environment_and_is_written_nowhere(
    server: Any, images: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "sk-right-0123456789"
    monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
    assert ask(server, images, tmp_path / "a", "key_variable=MY_KEY") == 2
    printed = capsys.readouterr()
    assert "MY_KEY" in printed.err and "sk-wrong" not in printed.err + printed.out
    monkeypatch.delenv("MY_KEY")
    assert ask(server, images, tmp_path / "a", "key_variable=MY_KEY") == 2
    assert "which is not set" in capsys.readouterr().err
    monkeypatch.setenv("MY_KEY", "sk-wrong\n-9876543210")
    assert ask(server, images, tmp_path / "a", "key_variable=MY_KEY") == 2
    assert "sk-wrong" not in capsys.readouterr().err
    monkeypatch.setenv("MY_KEY", f"{server.key}\n")
    assert ask(server, images, tmp_path / "a", "key_variable=MY_KEY") == 0
    printed = capsys.readouterr()
    held = "".join(file.read_text() for file in (tmp_path / "a").iterdir() if file.is_file())
    assert "sk-" not in held + printed.out + printed.err


def test_the_budget_is_not_passed_and_more_of_it_goes_on(
    server: Any, images: Path, tmp_path: Path, capsys: Any
) -> None:
    prices = ("prices={input: 1000, output: 1000}", "max_tokens=300", "concurrency=3", "image_side=32")
    assert ask(server, images, tmp_path / "a", *prices, "budget=6") == 1
    told = capsys.readouterr().err
    assert "budget=6" in told and "higher budget=" in told
    figures = json.loads((tmp_path / "a" / "annotate.json").read_text())["asking"]["all"]
    assert 0 < figures["cost"] <= 6 and 0 < figures["requests"] < GROUPS
    assert ask(server, images, tmp_path / "a", *prices, "budget=6") == 1
    assert len(server.calls) == figures["requests"]  # what was spent before counts
    assert ask(server, images, tmp_path / "a", *prices, "budget=100") == 0
    assert len(lines(tmp_path / "a")) == GROUPS == len(server.calls)


def test_several_annotators_are_all_asked(server: Any, images: Path, tmp_path: Path, capsys: Any) -> None:
    one, two = f"judge@{server.url}", f"second=judge@{server.url}"
    out = tmp_path / "a"
    assert ask(server, images, out, f"annotators={one},{two}", "prices={second: {input: 1, output: 1}}") == 0
    assert Counter(line.annotator for line in lines(out)) == {"judge": GROUPS, "second": GROUPS}
    figures = json.loads((out / "annotate.json").read_text())["asking"]["annotators"]
    assert figures["judge"]["cost"] == 0 < figures["second"]["cost"]
    for wrong, told in [
        ((f"annotators={one},{one}",), "two are called 'judge'"),
        ((f"annotators={one}", "prices={jugde: {input: 1, output: 1}}"), "Did you mean 'judge'"),
        ((f"annotators={one}", "prices={input: 1}"), "both prices"),
        ((f"annotators={one}", "budget=3"), "give also prices="),
        ((f"annotators={one},{two}", "prices={second: {input: 1, output: 1}}", "budget=3"), "none for 'judge'"),
        (("annotators=nobody",), "neither MODEL@URL"),
        ((f"annotators={one}", "template=nowhere.txt"), "no such file"),
        ((f"annotators={one}", "questions=visionprefr"), "Did you mean 'visionprefer'"),
    ]:
        assert ask(server, images, tmp_path / "b", *wrong) == 2
        assert told in capsys.readouterr().err, wrong
    assert not (tmp_path / "b").exists()


def test_a_dry_run_asks_nothing(server: Any, images: Path, tmp_path: Path, capsys: Any) -> None:
    assert ask(server, images, tmp_path / "a", "dry_run=true", "prices={input: 2.5, output: 10}", "repeats=2") == 0
    told = capsys.readouterr().out
    assert f"{2 * GROUPS}" in told and "nothing was asked" in told
    assert not server.calls and not (tmp_path / "a").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_waits_for_the_calls_in_flight(
    server: Any, images: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    server.delay = 0.5

    def send() -> None:
        while server.in_flight < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    assert ask(server, images, tmp_path / "a", "concurrency=3") == code
    assert len(lines(tmp_path / "a")) == 3 == len(server.calls) == server.most_in_flight
    server.delay = 0.0
    assert ask(server, images, tmp_path / "a") == 0
    assert len(server.calls) == GROUPS


def test_answers_that_a_kill_left_unfinished_are_not_asked_again(server: Any, images: Path, tmp_path: Path) -> None:
    """A log that a kill cut short: a half line, an answer that awaited its repair, and a call that was in flight."""
    server.fault = lambda asked: "malformed" if asked.number == 0 else None
    assert ask(server, images, tmp_path / "a", "concurrency=1") == 0
    log, calls = tmp_path / "a" / LOG_FILE, tmp_path / "a" / CALLS_FILE
    whole = log.read_text().splitlines(keepends=True)
    log.write_text(whole[1] + whole[2][:-40])  # the first line is gone, the third is cut
    kept = [line for line in calls.read_text().splitlines(keepends=True) if _request(line) in map(_request, whole[:3])]
    calls.write_text("".join(kept))
    before = len(server.calls)
    server.fault = lambda asked: None
    assert ask(server, images, tmp_path / "a", "concurrency=1") == 0
    again = server.calls[before:]
    assert f"{_request(whole[0])}-0" not in again and f"{_request(whole[0])}-1" in again
    assert not any(key.startswith(_request(whole[1])) for key in again)
    assert len(again) == GROUPS - 1 and len(lines(tmp_path / "a")) == GROUPS
    assert next(line for line in lines(tmp_path / "a") if line.request == _request(whole[0])).attempts[0].problem


def _request(line: str) -> str:
    return str(json.loads(line)["request"])


def test_two_processes_do_not_write_one_log(server: Any, images: Path, tmp_path: Path, capsys: Any) -> None:
    from rewardkit.annotate.log_file import LogFile

    with LogFile(tmp_path / "a"):
        assert ask(server, images, tmp_path / "a") == 2
    assert "another annotation" in capsys.readouterr().err


def test_the_same_folder_goes_on_with_the_same_options_only(
    server: Any, images: Path, tmp_path: Path, capsys: Any
) -> None:
    assert ask(server, images, tmp_path / "a") == 0
    assert ask(server, images, tmp_path / "a", "mode=per_image", "seed=3") == 2
    told = capsys.readouterr().err
    assert "mode (joint then, per_image now)" in told and "seed (0 then, 3 now)" in told


def test_prompts_are_prepared_first_and_kept_raw(server: Any, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images" / "gen").mkdir(parents=True)
    rows = [{"id": "a", "prompt": "a cat, 8k"}, {"id": "b", "prompt": "gore"}, {"id": "c", "prompt": "a dog"}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        Image.new("RGB", (40, 30), (len(row["prompt"]), 5, 9)).save(tmp_path / "images" / "gen" / f"{row['id']}.png")
    more = (f"prompts={tmp_path / 'prompts.jsonl'}", "steps=clean,safety")
    assert ask(server, tmp_path / "images", tmp_path / "a", *more) == 0
    found = lines(tmp_path / "a")
    assert Counter(line.step for line in found) == {"clean": 3, "safety": 3, "scores": 2}
    assert {line.prompt for line in found if line.step == "scores"} == {"a cat", "a dog"}
    asked = len(server.calls)
    assert ask(server, tmp_path / "images", tmp_path / "a", *more) == 0
    assert len(server.calls) == asked
    prepared = [json.loads(line) for line in (tmp_path / "a" / "prompts.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in prepared] == ["a cat", "gore", "a dog"]
    assert prepared[0]["raw_prompt"] == "a cat, 8k" and "gore" in prepared[1]["dropped"]
    again = (f"prompts={tmp_path / 'a' / 'prompts.jsonl'}",)  # what was written is what prompts= reads
    assert ask(server, tmp_path / "images", tmp_path / "b", *again) == 0
    assert {line.prompt for line in lines(tmp_path / "b")} == {"a cat", "a dog"}
