"""The report in a real Chromium, from disk: no request, no error, GIFs play, filters work, it fits, it prints.

Playwright drives the system's Chromium (`apt install chromium`); without one the tests are skipped.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from localgif.report.page import write_report
from localgif.store.read import load_record
from tests.support.reports import ALL, make_run

pytestmark = pytest.mark.slow


class Visit:
    """An open page, with its requests and its messages. With `motion` its GIFs play, which takes a core."""

    def __init__(self, browser: Any, file: Path, *, motion: bool = False, **how: Any) -> None:
        reduced = "no-preference" if motion else "reduce"
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(**{"viewport": size, "reduced_motion": reduced, **how})
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def is_quiet(self, file: Path) -> None:
        """Check that the page made no request outside of its file, and printed no message."""
        assert [url for url in self.requests if not url.startswith("data:image/")] == [file.as_uri()]
        assert self.said == []


def test_it_opens_from_disk_asks_for_nothing_and_complains_of_nothing(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        assert page.locator(".verdict").inner_text().startswith("The evolved prompt is better")
        assert page.locator("#gallery .tile").count() == 38
        # Pictures load lazily. Decode each one now, which fails if its bytes are not a picture.
        decoded = page.evaluate(
            "Promise.all([...document.images].map(i => (i.loading = 'eager', i.decode()))).then(a => a.length)"
        )
        assert decoded == page.locator("img").count() > 30
        visit.is_quiet(report)


def test_a_page_could_not_load_anything_if_it_tried(browser: Any, report: Path, tmp_path: Path) -> None:
    """The content security policy works: the page makes no request even with requests and a script written into it."""
    broken = tmp_path / "broken.html"
    text = report.read_text("utf-8").replace(
        "<h1>",
        "<script>window.broken = 1</script><img src='http://127.0.0.1:9/x.png'>"
        "<iframe src='http://127.0.0.1:9/'></iframe><link rel=stylesheet href='http://127.0.0.1:9/x.css'><h1>",
        1,
    )
    broken.write_text(text, "utf-8")
    with Visit(browser, broken) as visit:
        assert visit.page.evaluate("window.broken") is None
        assert sum("Content Security Policy" in said for said in visit.said) >= 4


def test_hostile_text_does_nothing(browser: Any, tmp_path: Path) -> None:
    file = write_report(make_run(tmp_path, samples=20, text=ALL))
    with Visit(browser, file) as visit:
        page = visit.page
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        page.mouse.move(400, 400)
        assert page.evaluate("window.broken") is None
        assert page.locator("footer").count() == 1
        assert page.title() == "big - localgif"
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        visit.is_quiet(file)


def shown(page: Any) -> bytes:
    found: bytes = page.locator(".pair .gif.moves img").first.screenshot(animations="allow")
    return found


def changes(page: Any, looks: int = 4) -> bool:
    """Whether the first moving GIF (25 frames per second) changes between a few screenshots, which take long enough."""
    first = shown(page)
    return any(shown(page) != first for _ in range(looks))


def test_gifs_play_and_pause(browser: Any, report: Path) -> None:
    with Visit(browser, report, motion=True) as visit:
        page = visit.page
        assert changes(page, 200)
        page.get_by_role("button", name="Pause all GIFs").click()
        page.wait_for_timeout(100)
        assert not changes(page)
        button = page.locator(".pair .gif.moves button").first
        assert button.get_attribute("aria-label").startswith("Play: GIF by candidate")
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert changes(page, 200)
        visit.is_quiet(report)


def test_who_wants_no_motion_gets_stills_until_they_play(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        assert not changes(page)
        page.get_by_role("button", name="Play all GIFs").click()
        assert changes(page, 200)
    with Visit(browser, report, java_script_enabled=False) as visit:
        assert not changes(visit.page), "without the script too"


def test_filters_and_order_and_details(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        visible = page.locator("#gallery .tile:visible")
        assert page.locator("#shown").inner_text() == "40 samples in 38 tiles"
        page.get_by_label("purpose").select_option("fresh")
        assert page.locator("#shown").inner_text() == "8 samples in 8 tiles"
        assert visible.count() == 8
        page.get_by_label("purpose").select_option("")
        page.get_by_label("outcome").select_option("error")
        assert set(visible.locator(".none").all_inner_texts()) == {"no picture: error"}
        page.get_by_label("outcome").select_option("")
        page.get_by_label("order").select_option("best")
        scores = [float(text) for text in visible.locator("figcaption > b").all_inner_texts()]
        assert scores == sorted(scores, reverse=True)
        step = page.locator(".steps > li").first
        step.get_by_text("the reflector's answer").click()
        assert step.get_by_text("Rule: number").is_visible()
        visit.is_quiet(report)


def test_without_its_script_the_page_is_whole(browser: Any, report: Path) -> None:
    with Visit(browser, report, java_script_enabled=False) as visit:
        assert visit.page.locator("#gallery .tile:visible").count() == 38
        assert not visit.page.locator("#filters").is_visible()


def test_the_keyboard_reaches_everything_and_every_control_has_a_name(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        page = visit.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
        wanted = page.locator("button:visible, select:visible, summary:visible, a:visible").count()
        page.evaluate("window.reached = new Set(); addEventListener('focusin', event => reached.add(event.target))")
        for _ in range(wanted + 20):
            page.keyboard.press("Tab")
        assert page.evaluate("reached.size") >= wanted - 1
        nameless = (
            "[...document.querySelectorAll('img:not([alt]), img[alt=\"\"], button:empty:not([aria-label])')].length"
        )
        assert page.evaluate(nameless) == 0
        assert page.evaluate("document.documentElement.lang") == "en"
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
        assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def contrast(page: Any, selector: str) -> float:
    """The contrast of the first matching element's text with the page's background (WCAG 2)."""
    script = """selector => {
        const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const one = light(numbers(getComputedStyle(document.querySelector(selector)).color));
        const other = light(numbers(getComputedStyle(document.body).backgroundColor));
        return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    }"""
    return float(page.evaluate(script, selector))


def serious(page: Any) -> list[str]:
    """The accessibility problems that axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] != "minor"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (900, "light")])
def test_axe_finds_nothing(browser: Any, report: Path, width: int, scheme: str) -> None:
    with Visit(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme) as visit:
        assert contrast(visit.page, ".plots svg text") >= 4.5, "axe looks at no plot"
        visit.page.evaluate("for (const d of document.querySelectorAll('.steps details')) d.open = true")
        assert serious(visit.page) == []


def test_axe_would_find_something(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        visit.page.evaluate("document.querySelector('.sub').style.color = '#ddd'")
        assert any(found.startswith("color-contrast") for found in serious(visit.page))


def test_the_copy_button_copies_the_whole_prompt(browser: Any, report: Path) -> None:
    with Visit(browser, report, permissions=["clipboard-read", "clipboard-write"]) as visit:
        button = visit.page.get_by_role("button", name="Copy the prompt")
        button.click()
        visit.page.get_by_role("button", name="Copied").wait_for()
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == (report.parent / "candidates" / f"{best_of(report)}.md").read_text()
        visit.is_quiet(report)


def best_of(report: Path) -> str:
    result = load_record(report.parent).result
    assert result is not None
    return result.best.candidate


def test_links_to_the_sections_stay_in_view_and_lead_there(browser: Any, report: Path) -> None:
    with Visit(browser, report, viewport={"width": 390, "height": 800}) as visit:
        page = visit.page
        links = page.locator("nav a")
        assert links.count() >= 8
        links.get_by_text("Settings").click()
        assert 0 <= page.locator("nav").bounding_box()["y"] < 5, "it is sticky"
        heading = page.locator("#settings").bounding_box()
        nav = page.locator("nav").bounding_box()
        assert nav["y"] + nav["height"] <= heading["y"] + 20 < 700, "the heading is below it"


@pytest.mark.parametrize("width", [390, 900, 1400])
def test_wide_tables_scroll_inside_their_edge_and_keep_their_first_column(
    browser: Any, report: Path, width: int
) -> None:
    with Visit(browser, report, viewport={"width": width, "height": 900}) as visit:
        boxes = visit.page.evaluate("""[...document.querySelectorAll('.wide')].map(box => {
            box.scrollLeft = 10_000;
            const first = box.querySelector('tbody th').getBoundingClientRect(), edge = box.getBoundingClientRect();
            const style = getComputedStyle(box);
            return [first.left - edge.left, first.width, edge.width, parseFloat(style.borderLeftWidth), box.scrollLeft,
                edge.right];
        })""")
        assert len(boxes) >= 4
        for left, first, whole, border, _, right in boxes:
            assert 0 <= left <= 2 and border >= 1 and first < 0.5 * whole and right <= width
        assert any(box[4] > 0 for box in boxes) == (width == 390)


@pytest.mark.parametrize("width", [360, 820, 1440])
def test_nothing_sticks_out_at_any_width(browser: Any, report: Path, width: int) -> None:
    with Visit(browser, report, viewport={"width": width, "height": 900}) as visit:
        visit.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        small = (
            "Math.min(...[...document.querySelectorAll('.plots svg text')].map(t => t.getBoundingClientRect().height))"
        )
        assert visit.page.evaluate(small) >= 8, "a plot's words must be legible"


def test_it_prints(browser: Any, report: Path) -> None:
    with Visit(browser, report) as visit:
        printed = visit.page.pdf(format="A4")
        assert printed.startswith(b"%PDF")
        visit.page.set_viewport_size({"width": 794, "height": 1123})  # A4 without margins
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 794
        assert not visit.page.locator("#filters").is_visible()
        assert not visit.page.locator("nav").is_visible()
