//! Answers of models, read in each format of calls and thoughts, whole and in pieces.

use serde_json::{Map, Value};
use weighbridge_dialogue::{AnswerFormat, AnswerParser, Piece, ReasoningFormat, ToolFormat, ToolSchemas};

/// An answer: a byte that names the format of calls, one for that of thoughts, one for the length of the pieces, and
/// the text.
///
/// # Panics
/// Where the pieces come to something else than the whole, a call that counts as whole has arguments that are no
/// object of JSON, or one is broken though calls are told whole; these are findings.
pub fn answer(bytes: &[u8]) {
    let [tools, reasoning, length, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = AnswerFormat {
        tools: ToolFormat::ALL.get(usize::from(*tools)).copied(),
        reasoning: ReasoningFormat::ALL.get(usize::from(*reasoning)).copied(),
    };
    let characters: Vec<char> = text.chars().collect();
    let streamed = || AnswerParser::new(format, ToolSchemas::default(), "seed");
    for parser in [streamed(), streamed().telling_whole_calls()] {
        let pieces = characters.chunks(usize::from(*length).max(1)).map(|piece| piece.iter().collect());
        let whole = read(parser.clone(), [text.to_owned()]);
        assert_eq!(read(parser, pieces), whole, "pieces come to something else");
    }
    let mut parser = streamed().telling_whole_calls();
    parser.push(text);
    parser.finish();
    assert_eq!(parser.faults().broken, 0, "a call was told before it was whole");
}

/// Text, thoughts, and names and arguments of calls.
type Read = (String, String, Vec<(String, String)>);

fn read(mut parser: AnswerParser, pieces: impl IntoIterator<Item = String>) -> Read {
    let mut all: Vec<Piece> = pieces.into_iter().flat_map(|piece| parser.push(&piece)).collect();
    all.extend(parser.finish());
    let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in all {
        match piece {
            Piece::Text(piece) => text.push_str(&piece),
            Piece::Reasoning(piece) => reasoning.push_str(&piece),
            Piece::Call(delta) => {
                calls.extend(delta.name.map(|name| (name, String::new())));
                if let Some((_, arguments)) = calls.last_mut() {
                    arguments.push_str(&delta.arguments);
                }
            }
        }
    }
    let is_whole = |text: &String| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    // A number may be beyond what `serde_json` holds, and is JSON all the same.
    let whole = calls.iter().filter(|(_, arguments)| arguments.contains(['e', 'E']) || is_whole(arguments)).count();
    assert!(whole >= parser.calls() as usize, "the arguments of a whole call are no object");
    (text, reasoning, calls)
}
