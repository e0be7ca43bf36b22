"""The leaderboard in a real browser: sorts, filters, opens cells, loads nothing; hostile texts stay text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_results import GENERATORS, HOSTILE, write_example
from browser import picture, show

from rewardkit.benchmark.result import write_result
from rewardkit.report.leaderboard import write_leaderboard

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

NAMES = "return [...document.querySelectorAll('#board tbody tr:not([hidden]) th')].map(e => e.dataset.name)"
HEADS = (
    "return [...document.querySelectorAll('#board thead th:not([hidden])')].slice(1)"
    ".map(e => [e.dataset.reward, e.dataset.part])"
)
REFERENCE = "Stable Diffusion v1.4"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    result = write_example(folder)
    files = {f"/{'a-long-name-without-a-break' * 4}/{'prompts' * 9}.json": "0" * 64}
    write_result(folder, replace(result, provenance={**result.provenance, "prompts": files}))
    return write_leaderboard(folder, images=2, megabytes=1)


def choose(browser: Any, name: str, value: Any) -> None:
    """Sets a filter as a reader does."""
    browser.execute_script(
        "const e = document.getElementById('filters').elements[arguments[0]];"
        "if (e.type === 'checkbox') e.checked = arguments[1]; else e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', { bubbles: true }));",
        name,
        value,
    )


def column(browser: Any, number: int) -> list[float | None]:
    """The values of a column of the board, from above to below."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#board tbody tr')].map(r => r.cells[arguments[0]].dataset.value)"
        ".map(v => v === undefined ? null : Number(v))",
        number,
    )


def sort_button(browser: Any, number: int) -> Any:
    return browser.find_elements("css selector", "#board thead th button.sort")[number]


def test_renders_complains_of_nothing_and_loads_nothing(browser: Any, page: Path) -> None:
    browser.get_log("performance"), browser.get_log("browser")
    show(browser, page)
    charts = browser.execute_script(
        "return [...document.querySelectorAll('svg.chart')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(charts) >= 3 and min(charts) > 100
    browser.execute_script("document.querySelectorAll('#board button.open')[0].click()")
    broken = "return [...document.images].filter(e => !e.complete || !e.naturalWidth).length"
    assert browser.execute_script("return document.images.length") == 6
    assert browser.execute_script(broken) == 0
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:image/jpeg;base64,")} == {page.as_uri()}


def test_sorts_by_numbers_and_names_with_what_is_missing_last(browser: Any, page: Path) -> None:
    show(browser, page)
    choose(browser, "part", "")
    heads = browser.execute_script(HEADS)
    place = 1 + heads.index(["vpscore · overall", "style: photo"])  # the published row has no number there
    head = browser.find_elements("css selector", "#board thead th")[place]
    for order, sign in (("descending", -1), ("ascending", 1)):
        sort_button(browser, place).click()
        assert head.get_attribute("aria-sort") == order
        values = column(browser, place)
        known = [value for value in values if value is not None]
        assert known == sorted(known, key=lambda value: sign * value)
        assert values[len(known) :] == [None] and browser.execute_script(NAMES)[-1] == REFERENCE
    assert len(browser.find_elements("css selector", "#board [aria-sort]")) == 1
    sort_button(browser, 0).click()
    assert browser.execute_script(NAMES) == sorted([*GENERATORS, REFERENCE], key=str.lower)


def test_sorts_by_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    button = sort_button(browser, 1)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    before = browser.execute_script(NAMES)
    button.send_keys(Keys.ENTER)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    assert browser.execute_script(NAMES) == before[::-1]
    button.send_keys(Keys.SPACE)
    assert browser.execute_script(NAMES) == before


def test_other_tables_sort_too(browser: Any, page: Path) -> None:
    show(browser, page)
    table = next(
        one for one in browser.find_elements("css selector", "table.sortable") if "Normalised" in one.text and
        "body" in one.text
    )  # fmt: skip
    head = table.find_elements("css selector", "thead th")[2]
    head.find_element("css selector", "button").click()
    head.find_element("css selector", "button").click()
    shown = [float(row.find_elements("css selector", "td")[2].get_attribute("data-value"))
             for row in table.find_elements("css selector", "tbody tr")]  # fmt: skip
    assert shown == sorted(shown) and len(set(shown)) == 3


def test_filters_by_reward_part_name_and_published_rows(browser: Any, page: Path) -> None:
    show(browser, page)
    heads = browser.execute_script(HEADS)
    assert {part for _, part in heads} == {"all prompts"} and len(heads) == 7  # six of rewards, one of people
    choose(browser, "part", "style: anime")
    choose(browser, "reward", "vpscore · aesthetic")
    assert browser.execute_script(HEADS) == [["vpscore · aesthetic", "style: anime"]]
    choose(browser, "part", "")
    assert len(browser.execute_script(HEADS)) == 4
    choose(browser, "reward", "")
    assert len(browser.execute_script(HEADS)) == 25
    assert REFERENCE in browser.execute_script(NAMES)
    choose(browser, "published", False)
    assert REFERENCE not in browser.execute_script(NAMES) and len(browser.execute_script(NAMES)) == 3
    choose(browser, "name", "GAMM")
    assert browser.execute_script(NAMES) == ["gamma"]
    choose(browser, "name", "nobody")
    assert browser.execute_script(NAMES) == []


def test_a_cell_opens_its_images_and_closes(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    cell = browser.find_element("css selector", "#board button.open")
    opened = "return document.getElementById('behind').open"
    for close in ("escape", "button", "outside"):
        cell.send_keys(Keys.ENTER)
        assert browser.execute_script(opened)
        dialog = browser.find_element("id", "behind")
        assert [one.text for one in dialog.find_elements("css selector", "h3")] == [
            "Best",
            "Around the median",
            "Worst",
        ]
        scores = [float(one.text) for one in dialog.find_elements("css selector", ".example strong")]
        assert len(scores) == 6 and scores == sorted(scores, reverse=True)
        if close == "escape":
            browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        elif close == "button":
            dialog.find_element("css selector", "button.close").click()
        else:
            browser.execute_script("document.getElementById('behind').click()")  # its backdrop is itself
        assert not browser.execute_script(opened)
        assert browser.switch_to.active_element == cell


def test_hostile_texts_stay_text(browser: Any, page: Path) -> None:
    show(browser, page)
    choose(browser, "part", "")
    own = browser.execute_script("return [document.scripts.length, document.querySelectorAll('td i, th i').length]")
    assert own == [2, 0]  # the data and the page's own script
    assert GENERATORS[1] in browser.execute_script(NAMES)
    texts, inside = browser.execute_script(
        "const behind = document.getElementById('behind'), texts = []; let inside = 0;"
        "for (const button of document.querySelectorAll('#board button.open')) { button.click();"
        " for (const p of behind.querySelectorAll('.example p'))"
        " { texts.push(p.textContent); inside += p.children.length; }"
        " behind.close(); } return [texts, inside]"
    )
    assert inside == 0
    assert HOSTILE in texts
    assert browser.get_log("browser") == []


def test_a_script_that_is_not_the_pages_own_does_not_run(browser: Any, page: Path, tmp_path: Path) -> None:
    """What the policy is for: should a text ever get into the page as HTML, it still does nothing."""
    changed = tmp_path / "page.html"
    text = page.read_text(encoding="utf-8")
    changed.write_text(text.replace("</h2>", "</h2><script>window.hacked=1</script>", 1), encoding="utf-8")
    show(browser, changed)
    assert browser.execute_script("return window.hacked === undefined && !document.getElementById('filters').hidden")
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_needs_no_sideways_scroll(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    choose(browser, "part", "")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    picture(browser, f"leaderboard-{width}", width=width)
    browser.execute_script("document.querySelector('#board button.open').click()")
    inside = "const d = document.getElementById('behind'); return [d.scrollWidth <= d.clientWidth, d.offsetWidth]"
    fits, wide = browser.execute_script(inside)
    assert fits and wide <= width


def test_light_and_dark(browser: Any, page: Path) -> None:
    seen = {}
    for dark in (False, True):
        show(browser, page, dark=dark)
        seen[dark] = np.asarray(
            picture(browser, f"leaderboard-{'dark' if dark else 'light'}", width=1280), float
        ).mean()
        browser.execute_script("document.querySelector('#board button.open').click()")
        pairs = browser.execute_script(
            "const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;"
            " if (!c.endsWith(', 0)') && c !== 'transparent') return c; } };"
            "return ['.mean', '.best', '#board tbody small', '#board tbody th', '.sort', 'select', 'dialog h2', "
            "'.example .prompt', '.example .path', '.published .mean', '.close']"
            ".map(s => [s, getComputedStyle(document.querySelector(s)).color, behind(document.querySelector(s))])"
        )
        for name, ink, paper in pairs:
            assert contrast(ink, paper) >= 4.5, f"{name}: {ink} on {paper} cannot be read"
    assert seen[False] > 225 and seen[True] < 60


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio of two CSS colours, 1 to 21."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
