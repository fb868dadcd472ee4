"""Holds an OpenAPI document against the standard (openapi-spec-validator), and its examples and real answers against its own schemas.

Reads {"document": …, "answers": {"post /path": body, …}} from standard input; says what is wrong and exits with 1.
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate


def check(document, pointer, body):
    """Raises where a body does not fit the schema that stands there; references reach the whole document."""
    Draft202012Validator({**document, "$ref": pointer + "/schema"}).validate(body)


def main():
    given = json.load(sys.stdin)
    document, answers = given["document"], given["answers"]
    validate(document)
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            at = f"#/paths/{path.replace('/', '~1')}/{method}/"
            good = next(status for status in operation["responses"] if status.startswith("2"))
            parts = [(f"responses/{good}", operation["responses"][good])]
            if "requestBody" in operation:
                parts.append(("requestBody", operation["requestBody"]))
            for part, content in parts:
                pointer = f"{at}{part}/content/application~1json"
                check(document, pointer, content["content"]["application/json"]["example"])
                checked += 1
            if f"{method} {path}" in answers:
                pointer = f"{at}responses/{good}/content/application~1json"
                check(document, pointer, answers[f"{method} {path}"])
                checked += 1
    print(checked)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
