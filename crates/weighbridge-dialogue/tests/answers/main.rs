//! What comes of the answers that models write: text, thoughts and calls, however the answers are cut.

mod cuts;
mod formats;
mod held;
mod shapes;
mod templates;
mod thoughts;

use weighbridge_backend::{Json, Tool, ToolKind};
use weighbridge_dialogue::{AnswerFormat, AnswerParser, Faults, Piece, ReasoningFormat, ToolFormat, ToolSchemas};

/// What an answer comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    text: String,
    reasoning: String,
    /// Names and arguments.
    calls: Vec<(String, String)>,
    ids: Vec<String>,
    faults: Faults,
    whole: u32,
}

const TOOLS: [(&str, &str); 3] = [
    (
        "get_weather",
        r#"{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["celsius","fahrenheit"]}}}"#,
    ),
    (
        "search",
        r#"{"type":"object","properties":{"query":{"type":"string"},"limit":{"type":"integer"},"tags":{"type":"array"},"any":{}}}"#,
    ),
    ("now", r#"{"type":"object","properties":{}}"#),
];

fn schemas() -> ToolSchemas {
    let tool = |(name, parameters): (&str, &str)| {
        let definition = format!(r#"{{"type":"function","function":{{"name":"{name}","parameters":{parameters}}}}}"#);
        Tool { definition: Json(definition.into()), name: name.into(), kind: ToolKind::Function, strict: false }
    };
    ToolSchemas::new(&TOOLS.map(tool))
}

fn parser(tools: Option<ToolFormat>, reasoning: Option<ReasoningFormat>) -> AnswerParser {
    AnswerParser::new(AnswerFormat { tools, reasoning }, schemas(), "seed")
}

fn read<'a>(mut parser: AnswerParser, pieces: impl IntoIterator<Item = &'a str>) -> Read {
    let mut all: Vec<Piece> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    all.extend(parser.finish());
    let mut read = Read { faults: parser.faults(), whole: parser.calls(), ..Read::default() };
    for piece in all {
        match piece {
            Piece::Text(text) => read.text.push_str(&text),
            Piece::Reasoning(text) => read.reasoning.push_str(&text),
            Piece::Call(delta) => {
                if let Some(name) = delta.name {
                    assert_eq!(delta.index as usize, read.calls.len(), "calls come in their order");
                    read.calls.push((name, String::new()));
                    read.ids.extend(delta.id);
                }
                let (_, arguments) = read.calls.last_mut().expect("the name comes first");
                arguments.push_str(&delta.arguments);
            }
        }
    }
    read
}
