//! However an answer is cut into pieces, it comes to the same text and the same calls.

use proptest::prelude::*;
use serde_json::Value;
use weighbridge_dialogue::{Piece, ToolCallParser, ToolFormat};

/// Text and calls in their order, each run of text joined and each call's pieces too.
fn read<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<(Option<String>, String)> {
    let mut parser = ToolCallParser::new(ToolFormat::Hermes, "seed");
    let mut read: Vec<(Option<String>, String)> = Vec::new();
    let mut all: Vec<Piece> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    all.extend(parser.finish());
    for piece in all {
        let (id, name, text) = match piece {
            Piece::Text(text) => (None, None, text),
            Piece::Call(delta) => (Some(delta.index), delta.name, delta.arguments),
        };
        match read.last_mut() {
            Some((last, joined)) if name.is_none() && last.is_some() == id.is_some() => joined.push_str(&text),
            _ => read.push((name, text)),
        }
    }
    read
}

/// Cuts a text after every so many characters, the lengths taken in turn.
fn cut<'a>(mut text: &'a str, lengths: &[usize]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        let at = text.char_indices().nth(*length).map_or(text.len(), |(at, _)| at);
        let (piece, rest) = text.split_at(at);
        pieces.push(piece);
        text = rest;
        if text.is_empty() {
            break;
        }
    }
    pieces
}

/// Answers of what matters: tags whole and broken, calls good and bad, white space, other text.
fn answer() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("<tool_call>".to_owned()),
        Just("</tool_call>".to_owned()),
        Just("{\"name\": \"f\", \"arguments\": {\"a\": [1, \"</tool_call>\\\"\"]}}".to_owned()),
        Just("<tool_call>\n{\"name\": \"get\", \"arguments\": {\"ü\": 1.50}}\n</tool_call>".to_owned()),
        "[<>a\"\\\\{} \n/ü]{0,6}",
        "[ \n\t]{0,3}",
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_cut_reads_the_same(answer in answer(), lengths in prop::collection::vec(1_usize..9, 1..5)) {
        prop_assert_eq!(read(cut(&answer, &lengths)), read([answer.as_str()]));
    }

    #[test]
    fn arguments_come_back_equal(arguments in prop::collection::vec((".{0,4}", json()), 0..4), lengths in prop::collection::vec(1_usize..9, 1..5)) {
        let arguments: Value = arguments.into_iter().collect();
        let answer = format!("Well.\n<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>\n");
        let read = read(cut(&answer, &lengths));
        prop_assert_eq!(&read[0], &(None, "Well.".to_owned()));
        prop_assert_eq!(read[1].0.as_deref(), Some("f"));
        prop_assert_eq!(serde_json::from_str::<Value>(&read[1].1).ok(), Some(arguments));
    }

    #[test]
    fn text_without_a_tag_is_not_touched(text in "[^<]{0,20}", lengths in prop::collection::vec(1_usize..9, 1..5)) {
        let joined: String = read(cut(&text, &lengths)).into_iter().map(|(_, text)| text).collect();
        prop_assert_eq!(joined, text);
    }
}
