"""The lab put together: pages, what goes into the page's <head>, how it is launched."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from lab.app import PageStaysInBrowser, build_lab, launch_options
from lab.components import DEFAULT_PAGE, PAGES, head

REPOSITORY = Path(__file__).resolve().parents[2]


def test_pages_in_the_order_a_newcomer_meets_them() -> None:
    demo = build_lab()
    try:
        ids = [block.elem_id for block in demo.blocks.values() if block.elem_id]
        assert [each.removeprefix("page-") for each in ids if each.startswith("page-")] == list(PAGES)
        assert DEFAULT_PAGE in PAGES
    finally:
        demo.close()


def test_head_has_every_component_once_and_nothing_from_elsewhere() -> None:
    text = head()
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert text.count("<script") == len(scripts) == text.count("</script>")
    assert scripts[0].startswith("window.labConfig = ")
    config = json.loads(scripts[0].removeprefix("window.labConfig = ").removesuffix(";"))
    assert config["pages"] == list(PAGES)
    headings = ["Learn it", "Look inside", "Change it", "Around it"]
    assert [heading for heading, _ in config["groups"]] == headings
    assert sorted(name for _, names in config["groups"] for name in names) == sorted(PAGES)
    assert config["titles"]["scores"] == "Character"
    assert "window.lab = lab" in scripts[1], "core.js is the first"
    assert scripts[-1] == "window.lab.start();"
    folder = REPOSITORY / "lab" / "components"
    for source in [*folder.rglob("*.js"), *folder.rglob("*.css")]:
        assert text.count(source.read_text(encoding="utf-8")) == 1
    style = text.split("</style>")[0]
    assert re.findall(r"@import|url\(", style) == []
    assert set(re.findall(r"https?://[^\s\"'`)\\]+", text)) <= {"http://www.w3.org/2000/svg", "https://huggingface.co"}


def test_sources_stay_short() -> None:
    for source in (REPOSITORY / "lab").rglob("*"):
        if source.suffix in (".py", ".js", ".css"):
            assert len(source.read_text(encoding="utf-8").splitlines()) <= 400, source


def test_launch_options_follow_what_was_measured() -> None:
    options = launch_options()
    assert options["run_history"] is False
    assert options["ssr_mode"] is False
    assert options["show_error"] is False
    assert options["footer_links"] == []
    assert options["max_file_size"]
    assert Path(options["favicon_path"]).exists()
    assert {route.path for route in options["app_kwargs"]["routes"]} >= {"/lab/runs", "/lab/attention"}


def test_the_page_in_the_address_is_kept_from_gradio() -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(scope["query_string"])

    def ask(path: str, query: bytes) -> bytes:
        asyncio.run(PageStaysInBrowser(app)({"type": "http", "path": path, "query_string": query}, None, None))
        return seen[-1]

    assert ask("/", b"page=attention&run=fry&prompt=a+b%26page%3Dx") == b"run=fry&prompt=a+b%26page%3Dx"
    assert ask("/", b"page=%F0%9F%90%9F") == b""
    assert ask("/", b"run=fry") == b"run=fry"
    assert ask("/lab/runs", b"page=2") == b"page=2"


def start(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {key: value for key, value in os.environ.items() if key not in ("PORT", "GRADIO_SERVER_PORT")}
    settings |= {"GUPPY_CHECKPOINTS": str(root), **environment}
    command = [sys.executable, str(REPOSITORY / "app.py")]
    return subprocess.run(command, cwd=REPOSITORY, env=settings, capture_output=True, text=True, timeout=120)


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = start(tmp_path, PORT=port)
    assert ended.returncode == 1
    assert f"Port {port} cannot be opened" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    ended = start(tmp_path, PORT="seven")
    assert ended.returncode == 2
    assert "seven" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_spaces_is_imported_before_torch(tmp_path: Path) -> None:
    (tmp_path / "spaces.py").write_text("import sys; raise SystemExit(f'torch first: {\"torch\" in sys.modules}')")
    ended = start(tmp_path, PYTHONPATH=str(tmp_path))
    assert ended.stderr.strip() == "torch first: False"
