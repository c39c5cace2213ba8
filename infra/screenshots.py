"""Pictures of what the servers of a running local stack show, for docs/: ``python -m infra.screenshots --stack DIR``.

Headless Chromium of the system; logs in as a user would. The pages and their scripts come from the servers: a request
to any other host is refused, and told.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize, sync_playwright

from infra.local.servers import MLFLOW_USER, prefect_login
from infra.local.stack import Stack
from infra.local.web import request

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZE: ViewportSize = {"width": 1360, "height": 800}
SECONDS = 60
OUT = Path("docs/pictures")
MOST_BYTES = 300_000
SETTLE_MILLISECONDS = 4000
"""Charts are drawn some time after the text is there."""
MLFLOW_SETTINGS = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
}
"""Kept by the browser: no chat."""


def _open(browser: Browser, address: str, refused: set[str], **options: Any) -> BrowserContext:
    """A browser window of its own that reaches the server at ``address`` and nothing else."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce", color_scheme="light", **options)
    host = urlsplit(address).netloc

    def only_here(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if parts.scheme in ("data", "blob") or parts.netloc == host:
            route.continue_()
        else:
            refused.add(parts.netloc)
            route.abort()

    context.route("**/*", only_here)
    context.set_default_timeout(SECONDS * 1000)
    return context


def _take(page: Page, out: Path, text: str) -> None:
    """Save what the page shows once ``text`` is on it; Prefect's pages ask again and again and are never idle."""
    page.get_by_text(text, exact=True).filter(visible=True).first.wait_for()
    page.wait_for_timeout(SETTLE_MILLISECONDS)
    page.screenshot(path=str(out))
    if out.stat().st_size > MOST_BYTES:
        raise ValueError(f"{out} is larger than {MOST_BYTES} bytes")
    print(f"{out} {out.stat().st_size // 1000} kB")


def prefect_pictures(browser: Browser, stack: Stack, out: Path, refused: set[str]) -> None:
    """Overview, latest flow run, and deployments, behind Prefect's login."""
    address = f"http://127.0.0.1:{stack.ports['prefect']}"
    login = prefect_login(stack.secrets)
    context = _open(browser, address, refused)
    page = context.new_page()
    page.goto(address)
    page.locator("input[type=password]").first.fill(login)
    page.keyboard.press("Enter")
    page.get_by_text("Not now", exact=True).click()  # the newer pages, see infra/local/servers.py
    pages = [
        ("prefect-overview.png", "/dashboard", "Flow Runs"),
        ("prefect-deployments.png", "/deployments", "Deployments"),
    ]
    # The latest run that did something: one that finds nothing new has no task runs to show.
    states = {"state": {"name": {"any_": ["Promoted", "NotPromoted", "Completed", "Running"]}}}
    asked = {"sort": "START_TIME_DESC", "limit": 1, "flow_runs": states}
    newest = request(f"{address}/api/flow_runs/filter", login=login, body=asked)
    if newest:
        pages.append(("prefect-run.png", f"/runs/flow-run/{newest[0]['id']}", "Task Runs"))
    for name, path, text in pages:
        page.goto(address + path)
        _take(page, out / name, text)
    context.close()


def mlflow_pictures(browser: Browser, stack: Stack, out: Path, refused: set[str]) -> None:
    """Experiments, registered models, and the model that was registered last, behind MLflow's login."""
    address = f"http://127.0.0.1:{stack.ports['mlflow']}"
    password = stack.secrets["MLFLOW_PIPELINE_PASSWORD"]
    login = {"username": MLFLOW_USER, "password": password}
    context = _open(browser, address, refused, http_credentials=login)
    stored = "".join(f"localStorage.setItem({json.dumps(k)}, {json.dumps(v)});" for k, v in MLFLOW_SETTINGS.items())
    context.add_init_script(stored)
    page = context.new_page()
    registry = request(f"{address}/api/2.0/mlflow/registered-models/search", login=f"{MLFLOW_USER}:{password}")
    page.goto(f"{address}/#/models")
    page.get_by_role("button", name="Try it now").click()  # pages that show aliases; asked once
    pages = [("mlflow-models.png", "/#/models", "Registered Models")]
    for model in registry.get("registered_models", [])[:1]:
        pages.append(("mlflow-model.png", f"/#/models/{model['name']}", "Created Time"))
        for version in model.get("latest_versions", [])[-1:]:
            where = f"/#/models/{model['name']}/versions/{version['version']}"
            pages.append(("mlflow-version.png", where, "Source Run"))
    for name, path, text in pages:
        page.goto("about:blank")  # the part after # alone does not load a page
        page.goto(address + path)
        _take(page, out / name, text)
    context.close()


def main() -> int:
    """Take them all; the exit code."""
    parser = argparse.ArgumentParser("infra.screenshots", description=__doc__)
    parser.add_argument("--stack", type=Path, default=Path("work/stack"))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if not CHROMIUM.exists():
        print(f"{CHROMIUM} is missing (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    options.out.mkdir(parents=True, exist_ok=True)
    stack, refused = Stack(options.stack), set[str]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        prefect_pictures(browser, stack, options.out, refused)
        mlflow_pictures(browser, stack, options.out, refused)
        browser.close()
    if refused:
        print(f"the pages asked other hosts: {', '.join(sorted(refused))}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
