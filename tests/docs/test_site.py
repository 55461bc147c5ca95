"""The site builds without a warning, with all generated pages, and asks nothing of other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.actions import ACTIONS
from api.errors import ApiError
from api.settings import Settings
from engine.few_steps import FewSteps
from engine.registry import MainModel, ModelsFile
from engine.sub_models import SubModel
from engine.translation_model import TranslationModel
from scripts.reference import PAGES
from scripts.reference.models_yaml import attributes
from tests.docs.pages import PAGES as WRITTEN
from tests.docs.pages import ROOT

LOADED = re.compile(r'(?:src|srcset|data|href)="((?:https?:)?//[^"]+)"')
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")


def build(folder: Path, config: str = "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    written = {path.stem for path in WRITTEN if path.parent == ROOT / "docs"}
    built = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")}
    generated = {path.removesuffix(".md") for path in PAGES}
    assert {*written, *generated} <= built


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe|object|source)\b[^>]*>", page.read_text())
        assert [url for tag in tags for url in LOADED.findall(tag)] == [], page


def test_no_style_loads_anything_from_another_host(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//", sheet.read_text()) == [], sheet


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(
        "# Page\n\n[no page](nowhere.md) [no file](../nowhere.py) [no part](index.md#nowhere)\n"
    )
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\n"
        "docs_dir: docs\n"
        f"hooks: [{ROOT / 'scripts' / 'docs_hooks.py'}]\n"
        "nav: [Page: index.md]\n"
    )
    built = build(tmp_path / "site", str(config))
    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    for broken in ("nowhere.md", "nowhere.py", "#nowhere"):
        assert any(broken in warning for warning in warnings), built.stderr


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_in_the_repository_too(path: Path) -> None:
    targets = [target for target in LINK.findall(path.read_text()) if ":" not in target]
    missing = [
        target for target in targets if not (path.parent / target).exists() and target not in PAGES
    ]
    assert missing == []


# What the generated pages hold ---------------------------------------------------------------------


def rows(page: str) -> set[str]:
    """First cells of all tables of a generated page."""
    return set(re.findall(r"^\| `?([^|`]+?)`? \|", PAGES[page](), re.MULTILINE))


def test_the_protocol_page_has_every_action_field_and_code() -> None:
    text, cells = PAGES["reference/protocol.md"](), rows("reference/protocol.md")
    for name, action in ACTIONS.items():
        assert f"### {name}\n" in text
        assert {*action.request.model_fields, *action.response.model_fields} <= cells
    assert {str(kind.ret_code) for kind in ApiError.__subclasses__()} <= cells
    assert "| `Steps` | integer, from 6, to 100 | - |" in text
    assert "| `ReferStrength` | number, from 0, to 1 | `0.3` |" in text


def test_the_settings_page_has_every_setting_and_no_path_of_the_machine() -> None:
    assert {*Settings.model_fields} <= rows("reference/settings.md")
    assert str(ROOT) not in PAGES["reference/settings.md"]()


@pytest.mark.parametrize("model", [ModelsFile, MainModel, SubModel, FewSteps, TranslationModel])
def test_every_key_of_models_yaml_is_told(model: type) -> None:
    assert attributes(model).keys() == model.model_fields.keys()
    assert {*model.model_fields} <= rows("reference/models_yaml.md")


def test_the_command_page_has_every_command() -> None:
    text = PAGES["reference/commands.md"]()
    for command in ("serve", "worker", "generate", "models check", "keys share", "cluster up"):
        assert f"`backdrop {command}`" in text
