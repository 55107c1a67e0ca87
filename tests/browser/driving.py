"""Waiting for the lab's pages to show what they should."""

from __future__ import annotations

import statistics

from playwright.sync_api import Page

WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SLACK = 3
"""Continuous integration shares its cores; a lab that got slow is slower than this times the limit."""


def ready(page: Page) -> Page:
    """Wait until the lab's state is valid."""
    page.wait_for_function("window.lab && lab.runs.length && lab.run()")
    return page


def painted(page: Page, /, **state: object) -> Page:
    """Wait until the wall shows the current run, step and prompt (and `state`, if given)."""
    page.wait_for_function(
        """wanted => {
            const wall = document.querySelector(".lab-wall");
            if (!window.lab || !wall?.dataset.painted || wall.classList.contains("waiting")) return false;
            const { run, step, prompt } = lab.state;
            if (Object.entries(wanted).some(([key, value]) => lab.state[key] !== value)) return false;
            return wall.dataset.painted === JSON.stringify([run, step, prompt]);
        }""",
        arg=state,
    )
    return page


def complete(page: Page) -> Page:
    """Wait until every checkpoint is in the browser."""
    page.wait_for_function("+document.querySelector('.lab-wall').dataset.have === lab.run().steps.length")
    return page


def report(name: str, times: list[float], limit: float) -> float:
    """Print p50 and p95 in ms beside the limit; returns p95."""
    ordered = sorted(times)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(f"\n{name}: p50 {statistics.median(ordered):.1f} ms, p95 {p95:.1f} ms (limit {limit} ms, n = {len(ordered)})")
    return p95
