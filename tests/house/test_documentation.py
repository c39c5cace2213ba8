"""The pages name files that exist, every package has its page of the API reference, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE_BY_USERS = {"infra/aws-credentials", "infra/.env"}
NAMED = re.compile(r"`((?:sim4seg|flows|stages|infra|benchmarks|tests|docs)/[\w./-]+?)/?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_documentation_exist(page: Path) -> None:
    if page.name == "experiments.md":  # history names files as they were
        return
    named = set(NAMED.findall(page.read_text(encoding="utf-8"))) - MADE_BY_USERS
    assert not sorted(name for name in named if not (ROOT / name).exists())


def test_every_package_has_a_page_of_the_api_reference() -> None:
    packages = {folder.parent.name for folder in (ROOT / "sim4seg").glob("*/__init__.py")}
    pages = {page.stem for page in (ROOT / "docs/api").glob("*.md")}
    assert packages - {"cli"} == pages
    for name in pages:
        assert f"::: sim4seg.{name}\n" in (ROOT / f"docs/api/{name}.md").read_text(encoding="utf-8")


def test_the_readme_can_be_read_at_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
