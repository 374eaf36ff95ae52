"""The page in a real browser; skipped without Chromium."""

import pathlib
import shutil
import threading
import urllib.error
import urllib.request

import pytest

from soar_jax import report
from soar_jax.report import serve
from tests.conftest import ROOT
from tests.report.conftest import HOSTILE, write_run

pytestmark = pytest.mark.slow
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MAX_FILTER_MS = 500  # a guard against quadratic work, not a measurement


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        # A browser is no Python package, so `make test-all` cannot bring one; .ci/run does.
        pytest.skip("no chromium on this machine: install Chromium or Chrome to test the report's page")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield made
        made.close()


@pytest.fixture(scope="module")
def page_file(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    write_run(out / "large", "soar_math", 9, num_steps=200, num_questions=256)
    report.write([study, out / "large"], out / "report.html")
    return out / "report.html"


@pytest.fixture
def opened(browser, page_file):
    """The loaded page, and its console messages, errors and network requests."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    messages = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: messages.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(page_file.as_uri())
    page.wait_for_selector("#questions .browser[data-ready]")
    page.wait_for_selector("#problems .browser[data-ready]")
    yield page, messages
    page.close()


def count(page, section="questions"):
    return page.inner_text(f"#{section} .count")


def first_cells(page, column):
    names = page.eval_on_selector_all("#questions .head button", "found => found.map(b => b.dataset.column)")
    lines = page.eval_on_selector_all(
        "#questions .rows .line", "found => found.map(line => [...line.children].map(cell => cell.textContent))"
    )
    return [line[names.index(column)] for line in lines]


def test_page_loads_without_errors_and_draws_only_rows_in_view(opened):
    page, messages = opened
    assert messages == []
    assert count(page).endswith(f"of {9 * 48 + 18 * 20 + 200 * 256 + 20:,}")
    assert len(first_cells(page, "run")) < 60
    page.eval_on_selector("#questions .view", "view => { view.scrollTop = view.scrollHeight }")
    page.locator("#questions .rows .line[style*='px']").first.wait_for()
    assert len(first_cells(page, "run")) < 60


def test_search_filters_and_sort(opened):
    page, messages = opened
    page.select_option("#questions [data-filter=promoted]", "1")
    assert count(page).startswith(f"{2 * 9 + 2} of")
    assert set(first_cells(page, "promoted")) == {"yes"}
    page.select_option("#questions [data-filter=promoted]", "")
    page.fill("#questions [data-filter=search]", "ONERROR")
    assert set(first_cells(page, "question")) == {HOSTILE}
    page.fill("#questions [data-filter=search]", "")
    page.fill("#questions [data-filter=step-least]", "150")
    page.fill("#questions [data-filter=reward-most]", "0.2")
    page.select_option("#questions [data-filter=right]", "0")
    assert all(int(step) >= 150 for step in first_cells(page, "step"))
    assert set(first_cells(page, "right")) == {"no"}
    page.click("#questions [data-column=reward]")
    rewards = [float(cell) for cell in first_cells(page, "reward")]
    assert rewards == sorted(rewards)
    page.click("#questions [data-column=reward]")
    rewards = [float(cell) for cell in first_cells(page, "reward")]
    assert rewards == sorted(rewards, reverse=True)
    assert 0.15 < rewards[0] <= 0.2
    assert messages == []


def test_hostile_text_adds_no_element_and_runs_no_script(opened):
    page, _ = opened
    page.fill("#questions [data-filter=search]", "onerror")
    page.eval_on_selector_all("details", "found => found.forEach(d => { d.open = true })")
    assert page.title() != "owned"
    assert page.query_selector("img") is None


def test_a_row_is_shown_whole_below_its_table(opened):
    page, messages = opened
    page.wait_for_selector("#completions .browser[data-ready]")
    assert count(page, "completions").endswith(f" of {9 * 48 + 200 * 256:,}")
    page.select_option("#completions [data-filter=verdict]", label="wrong")
    page.locator("#completions .rows .line").nth(1).click()
    shown = page.inner_text("#completions .detail")
    assert f"turn it\n{HOSTILE}\nso 3" in shown
    assert "reference answer" in shown
    page.select_option("#completions [data-filter=verdict]", "")
    assert page.inner_text("#completions .detail") == ""
    assert messages == []


def test_filtering_a_large_run_is_fast(opened):
    page, _ = opened
    elapsed = page.evaluate(
        """() => {
          const input = document.querySelector("#questions [data-filter=search]");
          const started = performance.now();
          input.value = "rotate";
          input.dispatchEvent(new Event("input"));
          return performance.now() - started;
        }"""
    )
    assert elapsed < MAX_FILTER_MS


def test_screenshots(browser, page_file):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for name, width, scheme, media in (
        ("laptop", 1280, "light", "screen"),
        ("phone", 390, "light", "screen"),
        ("dark", 1280, "dark", "screen"),
        ("print", 794, "light", "print"),
    ):
        page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.emulate_media(media=media)
        page.goto(page_file.as_uri())
        page.wait_for_selector("#problems .browser[data-ready]", state="attached")
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # no horizontal overflow
        assert page.is_visible("#questions") == (media == "screen")
        page.close()


def test_a_phone_shows_the_method_and_pass_at_k_first(browser, page_file):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(page_file.as_uri())
    head = page.locator("#results thead th")
    assert head.all_inner_texts()[:4] == ["", "pass@1", "pass@8", "pass@32"]
    box = head.nth(3).bounding_box()
    assert box["x"] + box["width"] <= 390
    panels = page.locator("#results .comparison .panels svg")
    assert panels.count() == 2
    assert all(panels.nth(number).bounding_box()["width"] == 358 for number in range(2))
    assert not page.is_visible("#results .comparison .wide")
    table = page.locator("#results .scroll")
    table.evaluate("box => { box.scrollLeft = 200 }")
    assert page.locator("#results tbody th").first.bounding_box()["x"] >= 0  # the method stays
    assert page.evaluate("window.scrollX") == 0
    page.close()


def test_charts_have_one_size_of_letters_at_every_width(browser, page_file):
    for width in (390, 800, 1280):
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.goto(page_file.as_uri())
        sizes = page.eval_on_selector_all(
            ".chart",
            """charts => charts.filter(chart => chart.clientWidth).map(chart => [
              getComputedStyle(chart.querySelector("text")).fontSize,
              chart.getBoundingClientRect().width / chart.viewBox.baseVal.width,
            ].join(" "))""",
        )
        assert len(sizes) > 20
        assert set(sizes) == {"12px 1"}
        page.close()


def test_served_page_reloads_when_a_run_progresses(browser, tmp_path):
    write_run(tmp_path / "run", "soar_math", 0, finished=False)
    server = serve.make_server([tmp_path], 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_page()
    page.goto(url)
    assert "1 not" in page.inner_text("header")
    page.wait_for_timeout(100)
    shutil.rmtree(tmp_path / "run")
    write_run(tmp_path / "run", "soar_math", 0)
    page.locator("header", has_text="0 not").wait_for(timeout=60_000)
    page.close()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "elsewhere.example:80"}))
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url + str(pathlib.Path("..") / "etc" / "passwd"))
    server.shutdown()
    server.server_close()
