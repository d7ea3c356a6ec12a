//! Thoughts, by their tags and where the prompt begins them.

use weighbridge_dialogue::{AnswerParser, Piece, ReasoningFormat, ToolFormat};

use crate::{parser, read};

fn check_parser(parser: AnswerParser, answer: &str, reasoning: &str, text: &str) {
    let read = read(parser, [answer]);
    assert_eq!((read.reasoning.as_str(), read.text.as_str()), (reasoning, text), "{answer}");
}

fn check(format: ReasoningFormat, answer: &str, reasoning: &str, text: &str) {
    check_parser(parser(None, Some(format)), answer, reasoning, text);
}

#[test]
fn every_family_sets_its_thoughts_apart() {
    check(ReasoningFormat::Think, "<think>\nWell.\n\nSo.\n</think>\n\nYes.\n", "Well.\n\nSo.", "Yes.\n");
    check(ReasoningFormat::Think, "<think>\n\n</think>\n\nYes.", "", "Yes.");
    check(ReasoningFormat::Mistral, "[THINK]Well.[/THINK]Yes.", "Well.", "Yes.");
    check(ReasoningFormat::Seed, "<seed:think>Well.</seed:think>Yes.", "Well.", "Yes.");
    check(ReasoningFormat::Reasoning, "<reasoning>Well.</reasoning>Yes.", "Well.", "Yes.");
    check(ReasoningFormat::Gemma, "<|channel>thought\nWell.\n<channel|>Yes.", "Well.", "Yes.");
    check(
        ReasoningFormat::Command,
        "<|START_THINKING|>Well.<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
        "Well.",
        "Yes.",
    );
    check(ReasoningFormat::Granite, "<think>Well.</think><response>Yes.</response>", "Well.", "Yes.");
    check(
        ReasoningFormat::Apriel,
        "Here are my reasoning steps:\nWell.\n[BEGIN FINAL RESPONSE]\nYes.\n[END FINAL RESPONSE]",
        "Well.",
        "Yes.\n",
    );
    check(
        ReasoningFormat::Harmony,
        "<|channel|>analysis<|message|>Well.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        "Well.",
        "Yes.",
    );
}

#[test]
fn an_answer_without_a_thought_is_text() {
    for format in ReasoningFormat::ALL {
        for text in ["", "Yes.", " \n Yes. < and [", "</thin"] {
            check(*format, text, "", text);
        }
    }
}

#[test]
fn a_thought_that_the_prompt_began_goes_on() {
    let thinking = || parser(None, Some(ReasoningFormat::Think)).within_thought();
    check_parser(thinking(), "\nWell.\n</think>\n\nYes.", "Well.", "Yes.");
    check_parser(thinking(), "Well. <think> is a word.", "Well. <think> is a word.", "");
    check_parser(thinking(), "Well.\n</thi", "Well.\n</thi", "");
}

#[test]
fn thoughts_and_calls_take_turns() {
    let call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    let answer = format!("<think>\nFirst {call}?\n</think>\n\n{call}\n<think>Then.</think>\nDone.");
    let both = || parser(Some(ToolFormat::Hermes), Some(ReasoningFormat::Think));
    let all = read(both(), [answer.as_str()]);
    assert_eq!((all.reasoning, all.text), (format!("First {call}?Then."), "Done.".into()));
    // What a model only thinks of calling is not called.
    assert_eq!(all.calls, [("now".into(), "{}".into())]);
    // Tags within arguments are none.
    let quoted = "<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"<think>\"}}</tool_call>";
    let all = read(both(), [quoted]);
    assert_eq!((all.reasoning.as_str(), all.calls.len()), ("", 1));
}

#[test]
fn a_token_that_calls_ends_a_thought_that_has_no_end() {
    let answer = "Well. <|tool_calls_section_begin|><|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>";
    let parser = parser(Some(ToolFormat::Kimi), Some(ReasoningFormat::Think)).within_thought();
    let all = read(parser, [answer]);
    assert_eq!((all.reasoning.as_str(), all.text.as_str(), all.calls.len()), ("Well.", "", 1));
}

#[test]
fn a_call_may_stand_first_behind_a_thought() {
    let parser = parser(Some(ToolFormat::Llama), Some(ReasoningFormat::Think));
    let all = read(parser, ["<think>Well.</think>\n{\"name\": \"now\", \"parameters\": {}}"]);
    assert_eq!((all.text.as_str(), all.calls.len()), ("", 1));
}

#[test]
fn what_is_hidden_does_not_show() {
    let hidden = ["<|END_ACTION|>".to_owned(), "<|START_ACTION|>".to_owned()];
    let parser = |tools| parser(tools, Some(ReasoningFormat::Command)).hiding(&hidden);
    check_parser(parser(None), "a<|END_ACTION|>b<|START_ACTION|>", "", "ab");
    check_parser(parser(Some(ToolFormat::Command)), "a <|START_ACTION|>[no]<|END_ACTION|>", "", "a [no]");
}

#[test]
fn it_tells_when_the_model_thinks() {
    let mut parser = parser(None, Some(ReasoningFormat::Think));
    assert!(!parser.is_thinking());
    assert_eq!(parser.push("<think>a"), [Piece::Reasoning("a".into())]);
    assert!(parser.is_thinking());
    parser.push("</think>");
    assert!(!parser.is_thinking());
}
