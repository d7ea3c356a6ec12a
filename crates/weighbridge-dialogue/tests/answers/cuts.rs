//! However an answer is cut into pieces, it comes to the same; and whatever it is, its whole calls have valid arguments.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};
use weighbridge_dialogue::{AnswerFormat, AnswerParser, ReasoningFormat, ToolFormat};

use crate::shapes::{arguments, write};
use crate::{Read, parser, read};

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

/// What answers in a format are made of: its markers whole and cut short, calls, thoughts, and what stands between.
fn answer(tools: ToolFormat, reasoning: ReasoningFormat) -> impl Strategy<Value = String> {
    let markers = AnswerFormat { tools: Some(tools), reasoning: Some(reasoning) }.markers();
    let part = prop_oneof![
        3 => (prop::sample::select(markers), any::<Index>(), any::<bool>()).prop_map(|(marker, at, whole)| {
            let ends: Vec<_> = marker.char_indices().map(|(at, _)| at).collect();
            if whole { marker.into() } else { marker[..ends[at.index(ends.len())]].to_owned() }
        }),
        3 => arguments().prop_map(move |arguments| write(tools, &[("search", arguments)])),
        1 => Just("now".to_owned()),
        1 => "[<>a\"\\\\{}\\[\\]()=:, \n/ü|]{0,6}",
        1 => "[ \n\t]{0,3}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// An answer, perhaps with a stretch left out.
fn damaged() -> impl Strategy<Value = (ToolFormat, ReasoningFormat, String)> {
    let formats = (prop::sample::select(ToolFormat::ALL), prop::sample::select(ReasoningFormat::ALL));
    let answers = formats.prop_flat_map(|(tools, reasoning)| {
        (Just(tools), Just(reasoning), answer(tools, reasoning), any::<Index>(), 0_usize..4)
    });
    answers.prop_map(|(tools, reasoning, answer, at, length)| {
        let characters: Vec<char> = answer.chars().collect();
        let at = at.index(characters.len() + 1);
        let left = characters.iter().enumerate().filter(|(place, _)| !(at..at + length).contains(place));
        (tools, reasoning, left.map(|(_, c)| c).collect())
    })
}

fn check_arguments(read: &Read) -> Result<(), TestCaseError> {
    let valid = |text: &String| serde_json::from_str::<Map<String, Value>>(text).is_ok();
    let whole = read.calls.iter().filter(|(_, arguments)| valid(arguments)).count();
    prop_assert_eq!(whole, read.whole as usize, "{:?}", read);
    prop_assert_eq!(read.calls.len(), (read.whole + read.faults.broken) as usize, "{:?}", read);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_cut_reads_the_same(
        (tools, reasoning, answer) in damaged(),
        lengths in prop::collection::vec(1_usize..9, 1..5),
        within in any::<bool>(),
    ) {
        let new = || -> AnswerParser {
            let parser = parser(Some(tools), Some(reasoning));
            if within { parser.within_thought() } else { parser }
        };
        let whole = read(new(), [answer.as_str()]);
        prop_assert_eq!(&read(new(), cut(&answer, &lengths)), &whole);
        check_arguments(&whole)?;
    }

    #[test]
    fn where_calls_are_told_whole_none_is_broken_and_good_answers_read_the_same(
        (tools, reasoning, answer) in damaged(),
        lengths in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let parser = || parser(Some(tools), Some(reasoning));
        let whole = read(parser().telling_whole_calls(), [answer.as_str()]);
        prop_assert_eq!(&read(parser().telling_whole_calls(), cut(&answer, &lengths)), &whole);
        check_arguments(&whole)?;
        prop_assert_eq!(whole.faults.broken, 0);
        let streamed = read(parser(), [answer.as_str()]);
        if streamed.faults.broken == 0 {
            prop_assert_eq!(streamed, whole);
        }
    }

    #[test]
    fn text_without_a_marker_is_not_touched(
        format in prop::sample::select(ToolFormat::ALL),
        text in "[a-zA-Z .,ü\n]{0,20}",
        lengths in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let read = read(parser(Some(format), None), cut(&text, &lengths));
        prop_assert_eq!(read, Read { text, ..Read::default() });
    }
}
