//! The conversation: items to messages.
//!
//! An answer of the model is several items (thoughts, a text, calls) and one message: what follows the assistant's own
//! words without anybody else's between is put together.

use std::collections::BTreeSet;

use serde_json::Value;
use weighbridge_backend::{Asked, Capability, Message, Need, Part, Role, ToolCall};

use super::compact::recalled;
use super::tools::full_name;
use super::{Fields, WireError, media, need, passed_on};

/// The items of OpenAI's own tools, which nobody here runs.
const HOSTED: &[&str] = &[
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
];

/// Messages in the making.
pub(super) struct Turns<'a> {
    messages: Vec<Message>,
    /// Thoughts that wait for what was said after them.
    reasoning: String,
    /// The ids of the calls so far.
    calls: BTreeSet<String>,
    /// The last message ends with a summary, and what a user says next belongs to it.
    summed_up: bool,
    asked: &'a mut Vec<Asked>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(asked: &'a mut Vec<Asked>) -> Self {
        Self { messages: Vec::new(), reasoning: String::new(), calls: BTreeSet::new(), summed_up: false, asked }
    }

    pub(super) fn finish(self) -> Vec<Message> {
        self.messages
    }

    pub(super) fn say(&mut self, message: Message) {
        // Thoughts without anything said after them say nothing.
        self.reasoning.clear();
        self.messages.push(message);
    }

    /// Takes the next item, which stands at `path`.
    pub(super) fn take(&mut self, item: &Value, path: &str) -> Result<(), WireError> {
        let fields = Fields::of(item, path)?;
        match fields.required_string("type")? {
            "message" => self.message(&fields),
            "reasoning" => self.think(&fields),
            "compaction" => self.sum_up(&fields),
            "function_call" => self.call(&fields, "arguments", false),
            "custom_tool_call" => self.call(&fields, "input", true),
            "function_call_output" | "custom_tool_call_output" => self.result(&fields),
            hosted if HOSTED.contains(&hosted) => {
                let why = format!("'{hosted}' belongs to a tool of OpenAI's own, which this gateway does not have");
                Err(WireError::invalid(&fields.path("type"), why))
            }
            _ => {
                let why = "expected message, reasoning, function_call, function_call_output, custom_tool_call, \
                           custom_tool_call_output, compaction or item_reference";
                Err(WireError::invalid(&fields.path("type"), why))
            }
        }
    }

    fn message(&mut self, fields: &Fields<'_>) -> Result<(), WireError> {
        self.extras(fields, &["role", "content"]);
        let role = match fields.required_string("role")? {
            "developer" => Role::Developer,
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => {
                let why = "expected one of developer, system, user, assistant";
                return Err(WireError::invalid(&fields.path("role"), why));
            }
        };
        let parts = self.content(fields, "content")?;
        let after_summary = std::mem::take(&mut self.summed_up) && role == Role::User;
        if after_summary && let Some(last) = self.messages.last_mut().filter(|last| last.role == Role::User) {
            last.parts.extend(parts);
            return Ok(());
        }
        if role != Role::Assistant {
            self.say(Message::new(role, parts));
            return Ok(());
        }
        // Beside calls that wait for their results nothing else may stand.
        let calling = self.messages.last().is_some_and(|last| !last.tool_calls.is_empty());
        let message = self.assistant(calling);
        message.parts.extend(parts);
        Ok(())
    }

    /// The assistant's message, with the thoughts that came before: the last one where it is `same`, else a new one.
    fn assistant(&mut self, same: bool) -> &mut Message {
        let thoughts = std::mem::take(&mut self.reasoning);
        if !same || self.messages.last().is_none_or(|last| last.role != Role::Assistant) {
            self.messages.push(Message::new(Role::Assistant, Vec::new()));
        }
        let last = self.messages.len() - 1;
        let message = &mut self.messages[last];
        if !thoughts.is_empty() {
            message.reasoning.get_or_insert_default().push_str(&thoughts);
        }
        message
    }

    /// A summary stands in for what was left out after the last words of the user, whose message it becomes a part of:
    /// many templates take no two of them in a row.
    fn sum_up(&mut self, fields: &Fields<'_>) -> Result<(), WireError> {
        self.extras(fields, &["encrypted_content"]);
        let summary = recalled(fields)?;
        let users = self.messages.iter().rev().take_while(|message| message.role == Role::User).count();
        let mut parts = Vec::new();
        for message in self.messages.drain(self.messages.len() - users..) {
            parts.extend(message.parts);
            parts.push(Part::Text("\n\n".to_owned()));
        }
        parts.push(Part::Text(format!("{summary}\n\n")));
        self.say(Message::new(Role::User, parts));
        self.summed_up = true;
        Ok(())
    }

    /// The model's own thoughts, as far as they can be read. What a provider encrypted, only that provider can use.
    fn think(&mut self, fields: &Fields<'_>) -> Result<(), WireError> {
        self.extras(fields, &["summary", "content", "encrypted_content"]);
        if fields.string("encrypted_content")?.is_some() {
            self.asked.push(Asked { hint: true, ..passed_on(fields.path("encrypted_content")) });
        }
        for key in ["content", "summary"] {
            let mut text = String::new();
            for (i, part) in fields.array(key)?.unwrap_or_default().iter().enumerate() {
                let part = Fields::of(part, &fields.path(&format!("{key}[{i}]")))?;
                text.push_str(part.required_string("text")?);
            }
            if !text.is_empty() {
                self.reasoning.push_str(&text);
                break;
            }
        }
        Ok(())
    }

    fn call(&mut self, fields: &Fields<'_>, text: &str, custom: bool) -> Result<(), WireError> {
        self.extras(fields, &["call_id", "name", "namespace", text]);
        self.needs_tools(fields);
        let call = ToolCall {
            id: fields.required_string("call_id")?.to_owned(),
            name: full_name(fields.string("namespace")?, fields.required_string("name")?),
            arguments: fields.required_string(text)?.to_owned(),
            custom,
        };
        self.calls.insert(call.id.clone());
        self.assistant(true).tool_calls.push(call);
        Ok(())
    }

    fn result(&mut self, fields: &Fields<'_>) -> Result<(), WireError> {
        self.extras(fields, &["call_id", "output", "name"]);
        self.needs_tools(fields);
        let parts = self.content(fields, "output")?;
        let call = fields.required_string("call_id")?;
        if !self.calls.contains(call) {
            // No template and no provider could say what it answers.
            let call: String = call.chars().take(128).collect();
            let why = format!("no tool call of the conversation before it has the id '{call}'");
            return Err(WireError::invalid(&fields.path("call_id"), why));
        }
        let tool_call_id = Some(call.to_owned());
        let name = fields.string("name")?.map(str::to_owned);
        self.say(Message { tool_call_id, name, ..Message::new(Role::Tool, parts) });
        Ok(())
    }

    fn needs_tools(&mut self, fields: &Fields<'_>) {
        if !self.asked.iter().any(|asked| asked.need == Need::Capability(Capability::Tools)) {
            self.asked.push(need(&fields.path("type"), Capability::Tools));
        }
    }

    /// What we do not know is refused where nobody can be handed it; what only describes the item changes nothing.
    fn extras(&mut self, fields: &Fields<'_>, known: &[&str]) {
        for key in fields.keys().filter(|key| !known.contains(key)) {
            match key {
                "type" | "id" | "status" | "created_by" => {}
                "caller" if fields.get(key).is_some_and(|caller| caller["type"] == "direct") => {}
                "phase" => self.asked.push(Asked { hint: true, ..passed_on(fields.path(key)) }),
                _ => self.asked.push(passed_on(fields.path(key))),
            }
        }
    }

    fn content(&mut self, fields: &Fields<'_>, key: &str) -> Result<Vec<Part>, WireError> {
        match fields.required(key)? {
            Value::String(text) => Ok(vec![Part::Text(text.clone())]),
            Value::Array(parts) => {
                let path = fields.path(key);
                let read = |(i, part)| self.part(part, &format!("{path}[{i}]"));
                parts.iter().enumerate().map(read).collect()
            }
            other => Err(WireError::wrong_type(&fields.path(key), "a string or an array of parts", other)),
        }
    }

    fn part(&mut self, value: &Value, path: &str) -> Result<Part, WireError> {
        let fields = Fields::of(value, path)?;
        if fields.get("prompt_cache_breakpoint").is_some() {
            let path = fields.path("prompt_cache_breakpoint");
            self.asked.push(Asked { hint: true, ..need(&path, Capability::PromptCache) });
        }
        match fields.required_string("type")? {
            "input_text" | "output_text" => Ok(Part::Text(fields.required_string("text")?.to_owned())),
            "refusal" => Ok(Part::Text(fields.required_string("refusal")?.to_owned())),
            "input_image" => self.image(&fields, path),
            "input_audio" => {
                self.asked.push(need(path, Capability::AudioInput));
                media::audio(&fields, self.asked)
            }
            "input_file" => {
                self.asked.push(need(path, Capability::FileInput));
                media::file(&fields, self.asked)
            }
            kind => {
                self.asked.push(passed_on(path.to_owned()));
                Ok(Part::Other { kind: kind.to_owned() })
            }
        }
    }

    fn image(&mut self, fields: &Fields<'_>, path: &str) -> Result<Part, WireError> {
        if fields.get("file_id").is_some() {
            let why = "no files are kept here; send the image in 'image_url', as a data URL or an address";
            return Err(WireError::invalid(&fields.path("file_id"), why));
        }
        let url = fields.required_string("image_url")?.to_owned();
        let detail = fields.string("detail")?.map(str::to_owned);
        self.asked.push(need(path, Capability::ImageInput));
        Ok(Part::Image { url, detail })
    }
}
