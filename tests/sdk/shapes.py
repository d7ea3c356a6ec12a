"""Holds what the program sends against the SDKs' own types, strictly: a field that a type does not have is told."""

import json
import typing

import pydantic

# Fields that are sent on purpose though the SDK's types do not have them (they are in OpenAI's API description), and
# our own object at the end of a stream.
KNOWN_EXTRAS = {
    # The penalties are in the Open Responses specification.
    "Response": {"store", "presence_penalty", "frequency_penalty"},
    "ResponseCustomToolCall": {"status"},
    "ResponseFunctionCallArgumentsDoneEvent": {"name"},
    "ResponseCompletedEvent": {"weighbridge"},
    "ResponseIncompleteEvent": {"weighbridge"},
    "ResponseFailedEvent": {"weighbridge"},
    # Those of a delta have no bytes in the SDK, those of a part have.
    "Logprob": {"bytes"},
    "LogprobTopLogprob": {"bytes"},
    # docs/endpoint.md declares these ours.
    "ChatCompletionChunk": {"weighbridge"},
    "ChatCompletionMessage": {"reasoning_content"},
    "ChoiceDelta": {"reasoning_content"},
    "Completion": {"weighbridge"},
    "ErrorObject": {"upstream_code"},
    "MessageTokensCount": {"weighbridge"},
    "Model": {"weighbridge"},
    "RawMessageDeltaEvent": {"weighbridge"},
    # The SDK's chunks know no custom tools, and its calls do.
    "ChoiceDeltaToolCall": {"custom"},
    # Anthropic's errors have details, which the SDK reads beside its types.
    **{f"{kind}ErrorObject": {"details"} for kind in ("InvalidRequest", "Authentication", "Permission", "NotFound")},
    **{f"{kind}ErrorObject": {"details"} for kind in ("RateLimit", "GatewayTimeout", "API", "Overloaded")},
}

# What the descriptions of the APIs require, and the SDKs' types leave open since it may be null.
REQUIRED = {
    "chat_completion.Choice": {"logprobs"},
    "chat_completion_message.ChatCompletionMessage": {"content", "refusal"},
    "chat_completion_chunk.Choice": {"finish_reason"},
    "chat_completion_token_logprob.ChatCompletionTokenLogprob": {"bytes"},
    "chat_completion_token_logprob.TopLogprob": {"bytes"},
    "completion_choice.CompletionChoice": {"logprobs"},
    "error_object.ErrorObject": {"code", "param"},
    "message.Message": {"stop_reason", "stop_sequence"},
    "raw_message_delta_event.Delta": {"stop_reason", "stop_sequence"},
}


def check_wire(kind, text):
    """Fails where `text`, JSON as it came, is not what `kind`, a type of an SDK, says. Returns it as an object."""
    given = json.loads(text)
    value = pydantic.TypeAdapter(kind).validate_json(json.dumps(_as_typed(kind, given)), strict=True)
    if faults := list(_extras(value, "")):
        raise AssertionError("\n".join([*faults, text]))
    return given


def _as_typed(kind, given):
    """The object in words that the SDK's types have: they are narrower than the API in these places."""
    name = getattr(kind, "__name__", "")
    given = json.loads(json.dumps(given))
    if name == "Completion":
        for choice in given["choices"]:
            # A chunk before the last has none, and nothing comes before the first token of a prompt.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
            logprobs = choice["logprobs"] or {}
            for key, nothing in (("token_logprobs", 0.0), ("top_logprobs", {})):
                if logprobs.get(key, [0])[:1] == [None]:
                    logprobs[key][0] = nothing
    if name == "ChatCompletionChunk":
        for choice in given["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                if call.get("type") == "custom":
                    call["type"] = "function"
    return given


def _extras(value, path):
    """What a value has that its type has not, and lacks that the API requires."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _extras(item, f"{path}[{index}]")
    elif isinstance(value, pydantic.BaseModel):
        kind = type(value)
        for name in (value.model_extra or {}).keys() - KNOWN_EXTRAS.get(kind.__name__, set()):
            yield f"{path}.{name}: {kind.__name__} has no such field"
        named = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        for name in REQUIRED.get(named, set()) - value.model_fields_set:
            yield f"{path}.{name}: it is missing"
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{path}.{name}")


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
