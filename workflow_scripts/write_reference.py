"""What `a2d/config.py` says, for readers and for editors.

`make reference` writes docs/configuration.md and rules/schemas/config.schema.json.
"""

import json
from pathlib import Path
from typing import Any

from a2d.config import Config

ROOT = Path(__file__).parents[1]


def schema() -> str:
    """JSON schema of `config.yaml`."""
    return json.dumps(Config.model_json_schema(by_alias=True), indent=1) + "\n"


def page() -> str:
    """A table of keys for each section."""
    whole = Config.model_json_schema(by_alias=True)
    sections = {"config.yaml": whole} | whole["$defs"]
    parts = [
        "# Configuration",
        "Every key of `config.yaml`. Made from `a2d/config.py` by `make reference`; "
        "the values are in `config.yaml`.",
    ]
    for name, section in sections.items():
        parts += [f"## {name}", " ".join(section.get("description", "").split())]
        lines = ["| key | values | meaning |", "|---|---|---|"]
        for key, field in section["properties"].items():
            meaning = " ".join(field.get("description", "").split())
            if "default" in field:
                default = json.dumps(field["default"])
                meaning = f"{meaning} Default `{default}`.".strip()
            lines.append(f"| `{key}` | {values(field)} | {meaning} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def values(field: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(values, field["anyOf"])))
    if field.get("type") == "array":
        items = field.get("items") or field["prefixItems"][0]
        return f"list of {values(items)}"
    if field.get("type") == "object":
        of = field.get("additionalProperties", True)
        if "patternProperties" in field:
            (of,) = field["patternProperties"].values()
        return f"by name: {values(of)}" if isinstance(of, dict) else "sections"
    bounds = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{word} {field[key]:g}" for key, word in bounds.items() if key in field]
    return ", ".join([field["type"], *found])


if __name__ == "__main__":
    (ROOT / "docs/configuration.md").write_text(page())
    (ROOT / "rules/schemas").mkdir(exist_ok=True)
    (ROOT / "rules/schemas/config.schema.json").write_text(schema())
