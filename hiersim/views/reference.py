"""Pages that are made from the source: the glossary and the JSON Schema of designs.

`python -m hiersim.views.reference docs configs` writes them; a test holds them current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hiersim.config.schema import json_schema
from hiersim.model.metrics import METRICS


def glossary() -> str:
    """Every word of the output as one Markdown table."""
    lines = [
        "# Glossary",
        "",
        "Every key and column that hiersim prints. Made from `hiersim/model/metrics.py`; `hiersim define WORD` prints one entry.",
        "",
        "| word | unit | meaning | better |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{item.name}` | {item.unit} | {item.meaning} | {item.better or '–'} |" for item in METRICS.values()]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """The JSON Schema of a design file, as committed."""
    return json.dumps(json_schema(), sort_keys=True, indent=2) + "\n"


def main(docs: str, configs: str) -> None:
    """Write the pages."""
    (Path(docs) / "glossary.md").write_text(glossary())
    (Path(configs) / "design.schema.json").write_text(schema_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
