"""Citation file, CI workflow and issue templates are valid and agree with the code."""

import re

import pytest
import yaml

import keras_efficientnet
from tests.support.paths import ROOT

GITHUB = ROOT / ".github"
TEMPLATES = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.fixture
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


@pytest.fixture
def workflow():
    return yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())


def test_citation_has_the_version_and_licence_of_the_package(citation):
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == keras_efficientnet.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["message"]
    assert citation["authors"]


def test_citation_and_readme_name_the_same_paper(citation):
    """Source: proceedings.mlr.press/v97/tan19a.html."""
    paper = citation["preferred-citation"]
    assert (paper["year"], paper["volume"]) == (2019, 97)
    assert (paper["start"], paper["end"]) == (6105, 6114)
    assert paper["identifiers"][0]["value"] == "arXiv:1905.11946"
    readme = (ROOT / "README.md").read_text()
    entry = re.search(r"^```bibtex\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[1]
    fields = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", entry, re.MULTILINE))
    names = [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]]
    assert fields["author"] == " and ".join(names)
    assert re.sub("[{}]", "", fields["title"]) == paper["title"]
    assert fields["booktitle"] == paper["collection-title"]
    assert fields["pages"] == "6105--6114"
    assert fields["year"] == "2019"


def test_hosted_ci_runs_the_local_ci_script(workflow):
    steps = workflow["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert workflow["jobs"]["ci"]["container"].startswith("python:3.11-")


def test_hosted_ci_pins_its_actions_by_commit(workflow):
    used = [step["uses"] for step in workflow["jobs"]["ci"]["steps"] if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action), action


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates_are_valid(path):
    template = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert isinstance(template["blank_issues_enabled"], bool)
        return
    assert template["name"]
    assert template["description"]
    ids = [field["id"] for field in template["body"] if "id" in field]
    assert ids
    assert len(ids) == len(set(ids))
    for field in template["body"]:
        assert field["type"] in {"dropdown", "input", "markdown", "textarea"}
        assert field["attributes"].get("label") or field["attributes"].get("value")
