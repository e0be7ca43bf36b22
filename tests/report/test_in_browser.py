"""The pages in a real browser: they render, load nothing, complain of nothing, and fit light, dark and a phone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import picture, show

from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.report.page import write_report
from rewardkit.report.sweep_page import write_sweep_page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"\'` {{7*7}} javascript:alert(1) </style>'


@pytest.fixture(scope="module")
def pages(drawn_runs: tuple[RunLayout, RunLayout, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, all with a hostile prompt, source, generator or option in it."""
    first, second, shards = drawn_runs
    folder = tmp_path_factory.mktemp("pages")
    made = {"run": folder / "run.html"}
    first.data_errors.write_text(json.dumps({"shard": EVIL, "key": EVIL, "reason": EVIL}), encoding="utf-8")
    write_report(first, against=second, folders=[shards])
    shutil.move(first.report, made["run"])
    tables = []
    for name, layout in (("a", first), ("b", second)):
        _with_evil(layout.predictions / "000600-val.parquet", folder / f"{name}.parquet")
        tables.append(str(folder / f"{name}.parquet"))
    out = folder / "out"
    assert cli.run(["validate", f"model={','.join(tables)}", "bootstrap=100", f"out={out}"]) == 0
    made["validation"] = out / "report.html"
    rows = [
        {"trial": n, "state": "complete" if n else "failed", "value": 0.5 + 0.01 * n if n else None, "step": 9,
         "parameters": {"optim.lr": 10.0**-n, EVIL: EVIL if n % 2 else "no"}, "seconds": 3.0,
         "cause": None if n else EVIL}
        for n in range(6)
    ]  # fmt: skip
    made["sweep"] = write_sweep_page(
        folder / "sweep.html", rows, name=EVIL, metric=EVIL, maximize=True, commands=[EVIL], environment={EVIL: EVIL}
    )
    return made


def _with_evil(source: Path, target: Path) -> None:
    """The table with hostile texts wherever a text may stand."""
    from rewardkit.data.predictions import Predictions, read_predictions, write_predictions

    table = read_predictions(source)
    tags = json.dumps({EVIL: EVIL})
    scores = table.scores.assign(
        prompt=EVIL, tags=tags, generator=[EVIL + str(n % 3) for n in range(len(table.scores))]
    )
    write_predictions(target, Predictions(scores, table.labels))


KINDS = ("run", "validation", "sweep")


@pytest.mark.parametrize("kind", KINDS)
def test_pages_render_and_load_nothing(browser: Any, pages: dict[str, Path], kind: str) -> None:
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, pages[kind])
    charts = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart')].filter(e => !e.closest('details:not([open])'))"
        ".map(e => [...['width', 'height'].map(k => e.getBoundingClientRect()[k]), e.querySelectorAll('path').length])"
    )
    assert len(charts) >= 3 and all(width > 100 and height > 60 and paths > 2 for width, height, paths in charts)
    broken = "return [...document.images].filter(e => !e.complete || !e.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:image/jpeg;base64,")} == {pages[kind].as_uri()}


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts_are_shown_as_they_are(browser: Any, pages: dict[str, Path], kind: str) -> None:
    show(browser, pages[kind])
    assert browser.execute_script("return window.hacked === undefined && document.scripts.length === 0")
    text = browser.execute_script("return document.body.textContent")
    assert "onerror=" in text and "{{7*7}}" in text and "window.hacked=1" in text
    shown = "return [...document.images].every(e => e.src.startsWith('data:image/jpeg;base64,'))"
    assert browser.execute_script(shown)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scroll(browser: Any, pages: dict[str, Path], kind: str, width: int) -> None:
    show(browser, pages[kind], width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    picture(browser, f"{kind}-{width}", width=width)


@pytest.mark.parametrize("kind", KINDS)
def test_light_and_dark(browser: Any, pages: dict[str, Path], kind: str) -> None:
    seen = {}
    for dark in (False, True):
        show(browser, pages[kind], dark=dark)
        seen[dark] = np.asarray(picture(browser, f"{kind}-{'dark' if dark else 'light'}", width=1280), float).mean()
        ink = browser.execute_script(
            "return [document.body, document.querySelector('svg.chart text'), document.querySelector('td')]"
            ".map(e => { const s = getComputedStyle(e); return e instanceof SVGElement ? s.fill : s.color; })"
        )
        for colour in ink:
            shade = np.mean([int(part) for part in colour[4:-1].split(",")])
            assert shade > 150 if dark else shade < 130, f"{colour} cannot be read"
    assert seen[False] > 225 and seen[True] < 60
