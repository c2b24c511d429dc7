"""The API's description, OpenAPI 3.1: written by hand where it is text, from the answers' types where it is form."""

import types
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from circlet.serve import answers

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_PICTURE = {
    "type": "string",
    "format": "binary",
    "description": "A picture: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, ...",
}
_LABEL = {"type": "string", "minLength": 1, "maxLength": 100, "description": "Class; one that is there, or a new one."}


def openapi(version: str) -> dict[str, Any]:
    """The whole description, as JSON values.

    >>> sorted(openapi("1.0")["paths"])[:3]
    ['/api/about', '/api/classes', '/api/health']
    """
    k = _query("k", {"type": "integer", "minimum": 1, "maximum": 100, "default": 12}, "How many neighbours.")
    fpir = _query("fpir", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.01},
                  "Share of pictures of no enrolled class that may be taken for one.")  # fmt: skip
    far = _query("far", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.001},
                 "Share of pairs of two classes that may be taken for one.")  # fmt: skip
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}, "At most so many.")
    text = _query("text", {"type": "string", "maxLength": 100}, "Only classes with this in their name.")
    label = _query("label", {"type": "string", "maxLength": 100}, "Only items of this class; else the enrolled ones, "
                   "latest first.")  # fmt: skip
    picked = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}
    session = {"token": {"type": "string"}}
    paths = {
        "/api/search": {"post": _work("Items like a picture.", answers.Searched, [k], _picture_body())},
        "/api/identify": {"post": _work("Which class a picture shows, or none.", answers.Identified, [k, fpir],
                                        _picture_body())},
        "/api/verify": {"post": _work("Whether two pictures show one class.", answers.Verified, [far],
                                      _form(a=_PICTURE, b=_PICTURE))},
        "/api/items": {
            "get": _read("Enrolled items, or those of a class.", answers.Items, [label, limit]),
            "post": _work("Enrol a picture: durable once it is answered; again, it changes nothing.", answers.Enrolled,
                          [_query("label", _LABEL, "Where the picture is the body.")],
                          _picture_body(label=_LABEL), status="201", also={"200": "It was there before."}),
        },
        "/api/items/{id}": {"delete": _read("Take an enrolled item back.", answers.TakenBack, [picked])},
        "/api/items/{id}/thumbnail": {"get": {
            "summary": "A small picture of an item.", "parameters": [picked],
            "responses": {"200": {"description": "It.", "content": {"image/webp": {}}}, **_errors()}}},
        "/api/classes": {"get": _read("Classes, by name.", answers.Classes, [text, limit])},
        "/api/about": {"get": _read("What is served.", answers.About, [])},
        "/api/health": {"get": {**_read("Whether the service answers.", answers.Health, []), "security": []}},
        "/api/session": {
            "post": {"summary": "Hand in the token, for a cookie.", "security": [],
                     "requestBody": {"required": True, "content": {"application/json": {"schema": {
                         "type": "object", "required": ["token"], "properties": session}}}},
                     "responses": {"204": {"description": "Signed in."}, **_errors()}},
            "delete": {"summary": "Sign out.", "responses": {"204": {"description": "Signed out."}, **_errors()}},
        },
    }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "circlet serve", "version": version,
                 "description": "Search, identify and enrol pictures. Errors are JSON: status, and one sentence."},
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {name: schema_of(kind) for name, kind in vars(answers).items() if is_dataclass(kind)},
        },
    }  # fmt: skip


def schema_of(kind: Any) -> dict[str, Any]:
    """JSON schema of an annotated type; a dataclass within another is a reference.

    >>> schema_of(tuple[str, ...] | None)
    {'anyOf': [{'type': 'array', 'items': {'type': 'string'}}, {'type': 'null'}]}
    """
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        names = [field.name for field in fields(kind)]
        return {
            "type": "object",
            "description": (kind.__doc__ or "").strip(),
            "properties": {name: _within(hints[name]) for name in names},
            "required": names,
            "additionalProperties": False,
        }
    origin, of = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return {**_within(of[0]), "description": of[1]}
    if origin is Literal:
        return {"type": "string", "enum": list(of)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_within(each) for each in of]}
    if origin is tuple:
        return {"type": "array", "items": _within(of[0])}
    return {"type": _PLAIN[kind]}


def _within(kind: Any) -> dict[str, Any]:
    return _reference(kind) if is_dataclass(kind) else schema_of(kind)


def _reference(kind: Any) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _form(**parts: Any) -> dict[str, Any]:
    return {"multipart/form-data": {"schema": {"type": "object", "required": list(parts), "properties": parts}}}


def _picture_body(**more: Any) -> dict[str, Any]:
    return {**_form(image=_PICTURE, **more), "image/*": {"schema": _PICTURE}}


def _errors() -> dict[str, Any]:
    return {"default": {"description": "Not served.", "content": {
        "application/json": {"schema": _reference(answers.Error)}}}}  # fmt: skip


def _read(summary: str, answer: Any, parameters: list[Any], *, status: str = "200",
          also: dict[str, str] | None = None) -> dict[str, Any]:  # fmt: skip
    content = {"application/json": {"schema": _reference(answer)}}
    found = {status: "Done.", **(also or {})}
    responses = {code: {"description": text, "content": content} for code, text in found.items()}
    return {"summary": summary, "parameters": parameters, "responses": {**responses, **_errors()}}


def _work(summary: str, answer: Any, parameters: list[Any], body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**_read(summary, answer, parameters, **more), "requestBody": {"required": True, "content": body}}
