"""The generated reference is that of the code, and fits the project's config.yaml."""

import json

import jsonschema
import pytest
import yaml

from write_reference import ROOT, page, schema


def test_reference_is_fresh() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == page(), "make reference"
    path = ROOT / "rules/schemas/config.schema.json"
    assert path.read_text() == schema(), "make reference"


def test_schema_takes_the_project_s_configuration_and_refuses_a_typo() -> None:
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    jsonschema.validate(values, json.loads(schema()))
    values["train"]["max_stpes"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_stpes"):
        jsonschema.validate(values, json.loads(schema()))
