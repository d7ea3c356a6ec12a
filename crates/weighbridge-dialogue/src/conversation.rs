//! A request in the shape that chat templates read: Hugging Face's `messages` and `tools`.

use std::collections::HashMap;

use jiff::civil::DateTime;
use serde_json::{Map, Value, json};
use weighbridge_backend::{Effort, Message, Part, Request, Role, Tool, ToolCall, ToolChoice, ToolKind};

use crate::{TemplateError, custom};

/// What a template is rendered over.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The messages, oldest first: objects with `role` and `content`, and what else the template knows
    /// (`tool_calls`, `tool_call_id`, `name`, `reasoning_content`).
    pub messages: Vec<Value>,
    /// The tools announced, each an OpenAI tool object; `None` is Python's `None` to the template.
    pub tools: Option<Vec<Value>>,
    /// Whether the prompt ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// Further variables, `enable_thinking` for example; they hide special tokens of the same name.
    pub extra: Map<String, Value>,
    /// The time that `strftime_now` tells, in the zone of whoever asks.
    pub now: DateTime,
}

/// Returns the conversation of a request, ending where the assistant begins to speak.
///
/// Contents are the joined texts. [`Role::Developer`] becomes `system`, the word that templates know.
/// Arguments of earlier calls become objects where they are JSON and stay strings where not. A tool's
/// result without a name gets the name of the call it answers, which many templates print. Tools are
/// left out where the request has none or forbids them.
///
/// # Errors
/// When a message holds a part that is no text, which is named, or a tool's definition is no JSON.
pub fn conversation(request: &Request, now: DateTime) -> Result<Conversation, TemplateError> {
    let mut names = HashMap::new();
    let mut messages = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.iter().enumerate() {
        names.extend(message.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())));
        messages.push(message_value(index, message, &names)?);
    }
    Ok(Conversation { messages, tools: tools(request)?, add_generation_prompt: true, extra: extra(request)?, now })
}

fn message_value(index: usize, message: &Message, names: &HashMap<&str, &str>) -> Result<Value, TemplateError> {
    if let Some((part, kind)) = message.parts.iter().enumerate().find_map(other_kind) {
        return Err(TemplateError::new(format!(
            "cannot write messages[{index}].content[{part}] of type {kind:?} as a prompt, which takes text alone"
        )));
    }
    let role = if message.role == Role::Developer { Role::System } else { message.role };
    let mut value = Map::new();
    value.insert("role".into(), role.as_str().into());
    value.insert("content".into(), message.text().into());
    if let Some(reasoning) = &message.reasoning {
        value.insert("reasoning_content".into(), reasoning.as_str().into());
    }
    if !message.tool_calls.is_empty() {
        value.insert("tool_calls".into(), message.tool_calls.iter().map(call_value).collect());
    }
    let called = message.tool_call_id.as_deref().and_then(|id| names.get(id).copied());
    if let Some(id) = &message.tool_call_id {
        value.insert("tool_call_id".into(), id.as_str().into());
    }
    if let Some(name) = message.name.as_deref().or(called) {
        value.insert("name".into(), name.into());
    }
    Ok(Value::Object(value))
}

/// Variables of the request: how much the model is to think, by the names that templates know, and what the caller
/// sets itself.
fn extra(request: &Request) -> Result<Map<String, Value>, TemplateError> {
    let mut extra = Map::new();
    if let Some(effort) = request.effort {
        extra.insert("reasoning_effort".into(), effort.as_str().into());
        extra.insert("enable_thinking".into(), (effort != Effort::None).into());
        extra.insert("thinking".into(), (effort != Effort::None).into());
    }
    if let Some(arguments) = &request.template_arguments {
        let arguments: Map<String, Value> = serde_json::from_str(&arguments.0)
            .map_err(|_| TemplateError::new("cannot set chat_template_kwargs, which are no JSON object".to_owned()))?;
        extra.extend(arguments);
    }
    Ok(extra)
}

fn other_kind((index, part): (usize, &Part)) -> Option<(usize, &str)> {
    match part {
        Part::Text(_) => None,
        Part::Image { .. } => Some((index, "image_url")),
        Part::Carried { kind, .. } => Some((index, kind)),
        Part::Other { kind } => Some((index, kind)),
    }
}

fn call_value(call: &ToolCall) -> Value {
    if call.custom {
        let arguments = json!({custom::INPUT: call.arguments});
        return json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}});
    }
    // Some clients send back nothing where a function takes nothing.
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    let arguments = serde_json::from_str(arguments).map_or_else(|_| arguments.into(), Value::Object);
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

fn tools(request: &Request) -> Result<Option<Vec<Value>>, TemplateError> {
    if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
        return Ok(None);
    }
    request.tools.iter().enumerate().map(tool_value).collect::<Result<_, _>>().map(Some)
}

fn tool_value((index, tool): (usize, &Tool)) -> Result<Value, TemplateError> {
    let definition: Value = serde_json::from_str(&tool.definition.0)
        .map_err(|_| TemplateError::new(format!("cannot announce tools[{index}], whose definition is no JSON")))?;
    Ok(match &tool.kind {
        ToolKind::Function => definition,
        ToolKind::Custom(form) => custom::as_function(&definition, &tool.name, form),
    })
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::{Json, TextForm};

    use super::*;

    fn said(role: Role, text: &str) -> Message {
        Message::of_text(role, text)
    }

    fn called(arguments: &str) -> Message {
        let call =
            ToolCall { id: "call_1".into(), name: "get_weather".into(), arguments: arguments.into(), custom: false };
        Message { parts: Vec::new(), tool_calls: vec![call], ..said(Role::Assistant, "") }
    }

    fn ask(messages: Vec<Message>) -> Request {
        Request::new("r-1", "demo", messages)
    }

    fn ask_with_tool(tool_choice: ToolChoice, definition: &str) -> Request {
        let tool = Tool {
            definition: Json(definition.into()),
            name: "get_weather".into(),
            kind: ToolKind::Function,
            strict: false,
        };
        Request { tools: vec![tool], tool_choice, ..ask(vec![said(Role::User, "Weather?")]) }
    }

    fn check(messages: Vec<Message>, expected: Value) {
        let messages =
            conversation(&ask(messages), DateTime::ZERO).map(|conversation| Value::Array(conversation.messages));
        assert_eq!(messages, Ok(expected));
    }

    #[test]
    fn texts_are_joined_and_a_developer_speaks_as_the_system() {
        let mut user = said(Role::User, "one");
        user.parts.push(Part::Text(" two".into()));
        check(
            vec![said(Role::Developer, "Be brief."), user],
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two"}]),
        );
    }

    #[test]
    fn arguments_are_objects_where_they_are_json() {
        for (text, value) in [
            (r#"{"city":"Bern"}"#, json!({"city": "Bern"})),
            ("", json!({})),
            ("{city", json!("{city")),
            ("[1]", json!("[1]")),
        ] {
            let call =
                json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": value}});
            check(vec![called(text)], json!([{"role": "assistant", "content": "", "tool_calls": [call]}]));
        }
    }

    #[test]
    fn a_result_without_a_name_has_the_name_of_its_call() {
        let result = Message { tool_call_id: Some("call_1".into()), ..said(Role::Tool, "4") };
        let conversation = conversation(&ask(vec![called("{}"), result]), DateTime::ZERO);
        assert_eq!(
            conversation.ok().and_then(|mut conversation| conversation.messages.pop()),
            Some(json!({"role": "tool", "content": "4", "tool_call_id": "call_1", "name": "get_weather"}))
        );
    }

    #[test]
    fn tools_are_announced_unless_they_are_forbidden() {
        let tools = |request: &Request| conversation(request, DateTime::ZERO).map(|conversation| conversation.tools);
        assert_eq!(tools(&ask(Vec::new())), Ok(None));
        assert_eq!(tools(&ask_with_tool(ToolChoice::None, "{}")), Ok(None));
        assert_eq!(
            tools(&ask_with_tool(ToolChoice::Required, r#"{"b":1,"a":2}"#)),
            Ok(Some(vec![json!({"b": 1, "a": 2})]))
        );
        assert!(tools(&ask_with_tool(ToolChoice::Auto, "{")).is_err());
    }

    #[test]
    fn a_custom_tool_is_a_function_of_a_text_to_the_model() {
        let mut request = ask_with_tool(ToolChoice::Auto, r#"{"type":"custom","custom":{"description":"Runs it."}}"#);
        request.tools[0].kind = ToolKind::Custom(TextForm::Free);
        let mut earlier = called("print(1)");
        earlier.tool_calls[0].custom = true;
        request.messages.push(earlier);
        let conversation = conversation(&request, DateTime::ZERO);
        let tools = conversation.as_ref().ok().and_then(|it| it.tools.clone()).unwrap_or_default();
        assert_eq!(tools[0]["function"]["name"], "get_weather");
        assert_eq!(tools[0]["function"]["description"], "Runs it.");
        assert_eq!(tools[0]["function"]["parameters"]["properties"]["input"]["type"], "string");
        let calls = conversation.ok().map(|it| it.messages[1]["tool_calls"][0]["function"]["arguments"].clone());
        assert_eq!(calls, Some(json!({"input": "print(1)"})));
    }

    #[test]
    fn a_part_that_is_no_text_is_named() {
        let mut user = said(Role::User, "look");
        user.parts.push(Part::Other { kind: "image_url".into() });
        let error = conversation(&ask(vec![user]), DateTime::ZERO).map(drop).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("cannot write messages[0].content[1] of type \"image_url\" as a prompt, which takes text alone".into())
        );
    }
}
