"""Lints, renders and validates the chart: render.py CHART [KUBERNETES_VERSION...] < values.json

Prints one JSON document: lint (messages of helm lint --strict), error (why rendering was refused, or null),
documents (what would be applied), notes (NOTES.txt), invalid (what the Kubernetes schemas refuse, strictly).
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml

# Custom resources have no schema here; they are checked by their own tools.
CUSTOM = ("PrometheusRule",)


def render(chart, values):
    try:
        with helm_python.Chart.load(chart) as loaded:
            return loaded.render(values, name="lifeboat", namespace="lifeboat"), None
    except helm_python.HelmError as error:
        return {}, str(error)


def invalid(documents, versions):
    for version in versions:
        for document in documents:
            if document["kind"] in CUSTOM:
                continue
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{version} {document['kind']}: {error.message} at {list(error.path)}"


def main():
    chart, *versions = sys.argv[1:]
    values = json.load(sys.stdin)
    files, error = render(chart, values)
    notes = next((text for name, text in files.items() if name.endswith("NOTES.txt")), "")
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
    report = {
        "lint": [message["error"] for message in helm_python.lint(chart, values, strict=True)["messages"] if message["severity"] >= 2],
        "error": error,
        "documents": documents,
        "notes": notes,
        "invalid": list(invalid(documents, versions)),
    }
    json.dump(report, sys.stdout)


main()
