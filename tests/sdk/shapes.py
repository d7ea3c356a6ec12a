"""Holds what the program sends against the SDK's own types, strictly: a field that a type does not have is told."""

import typing

import pydantic

# Fields that are sent on purpose though the SDK's types do not have them (they are in OpenAI's API description), and
# our own object at the end of a stream.
KNOWN_EXTRAS = {
    "Response": {"store"},
    "ResponseCustomToolCall": {"status"},
    "ResponseFunctionCallArgumentsDoneEvent": {"name"},
    "ResponseCompletedEvent": {"weighbridge"},
    "ResponseIncompleteEvent": {"weighbridge"},
    "ResponseFailedEvent": {"weighbridge"},
    # Those of a delta have no bytes in the SDK, those of a part have.
    "Logprob": {"bytes"},
    "LogprobTopLogprob": {"bytes"},
}


def check(value):
    """Fails where `value`, a model that the SDK built without checking, is not what its type says."""
    faults = list(_faults(value, type(value).__name__))
    if faults:
        raise AssertionError("\n".join(faults))
    return value


def _faults(value, path):
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}[{index}]")
    elif isinstance(value, pydantic.BaseModel):
        kind = type(value).__name__.split("[")[0]
        for name in (value.model_extra or {}).keys() - KNOWN_EXTRAS.get(kind, set()):
            yield f"{path}.{name}: {kind} has no such field"
        for name, field in type(value).model_fields.items():
            given = getattr(value, name, None)
            if name not in value.model_fields_set:
                if field.is_required():
                    yield f"{path}.{name}: it is missing"
            elif problem := _problem(field.annotation, given):
                yield f"{path}.{name}: {problem}"
            else:
                yield from _faults(given, f"{path}.{name}")


def _problem(annotation, given):
    """What is wrong with a value of plain types; models are looked into by themselves."""
    if isinstance(given, (pydantic.BaseModel, list, dict)) or annotation is typing.Any:
        return None
    try:
        pydantic.TypeAdapter(annotation).validate_python(given, strict=True)
    except pydantic.ValidationError as error:
        return error.errors()[0]["msg"]
    return None
