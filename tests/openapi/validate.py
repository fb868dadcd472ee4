"""Holds an OpenAPI document against the standard (openapi-spec-validator), and its examples and real answers against its own schemas.

Reads {"document": …, "answers": {path: body, …}} from standard input; says what is wrong and exits with 1.
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
        post = operations["post"]
        at = "#/paths/" + path.replace("/", "~1") + "/post/"
        for part, content in [("requestBody", post["requestBody"]), ("responses/200", post["responses"]["200"])]:
            pointer = f"{at}{part}/content/application~1json"
            check(document, pointer, content["content"]["application/json"]["example"])
            checked += 1
        if path in answers:
            check(document, f"{at}responses/200/content/application~1json", answers[path])
            checked += 1
    print(checked)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
