use serde_json::json;
use weighbridge_backend::{Constraint, Json, TextForm, Tool, ToolChoice, ToolKind};

use super::*;
use crate::ToolFormat;

/// A byte a token, after these the markers, and the token that ends an answer.
struct Vocabulary {
    markers: &'static [&'static str],
}

const PLAIN: Vocabulary = Vocabulary { markers: &[] };

impl Vocabulary {
    fn grammars(&self) -> Grammars {
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
        tokens.extend(self.markers.iter().map(|name| VocabularyToken::Marker((*name).into())));
        tokens.push(VocabularyToken::Marker("<end>".into()));
        Grammars::new(tokens, &[self.end()]).expect("it has an end")
    }

    fn end(&self) -> u32 {
        256 + self.markers.len() as u32
    }

    /// The tokens of a text, every marker in it as its own.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let (mut tokens, mut rest) = (Vec::new(), text);
        while let Some(&first) = rest.as_bytes().first() {
            match self.markers.iter().position(|marker| rest.starts_with(marker)) {
                Some(at) => {
                    tokens.push(256 + at as u32);
                    rest = &rest[self.markers[at].len()..];
                }
                None => {
                    tokens.push(first.into());
                    let length = rest.chars().next().map_or(1, char::len_utf8);
                    tokens.extend(rest.bytes().take(length).skip(1).map(u32::from));
                    rest = &rest[length..];
                }
            }
        }
        tokens
    }

    /// Whether the form allows all tokens of a text, and its end.
    fn allows(&self, form: &Form<'_>, text: &str) -> bool {
        let mut matcher = self.grammars().matcher(form).expect("it can be enforced");
        for token in self.tokens(text) {
            if matcher.is_complete() || !matcher.mask().is_ok_and(|mask| mask.allows(token)) {
                return false;
            }
            matcher.take(token).expect("the mask allowed it");
        }
        let may_end = matcher.may_end();
        assert_eq!(matcher.mask().expect("it goes on or ends").allows(self.end()), may_end);
        may_end
    }

    fn takes(&self, form: &Form<'_>, text: &str) {
        assert!(self.allows(form, text), "{:?} {text}", self.markers);
    }

    fn refuses(&self, form: &Form<'_>, text: &str) {
        assert!(!self.allows(form, text), "{:?} {text}", self.markers);
    }
}

fn grammars() -> Grammars {
    PLAIN.grammars()
}

fn takes(form: &Form<'_>, text: &str) {
    PLAIN.takes(form, text);
}

fn refuses(form: &Form<'_>, text: &str) {
    PLAIN.refuses(form, text);
}

fn of(constraint: &Constraint) -> Form<'_> {
    Form { constraint: Some(constraint), ..Form::default() }
}

#[test]
fn an_object_is_any_object_and_nothing_else() {
    let form = of(&Constraint::JsonObject);
    for text in ["{}", r#"{"a": [1, {"b": null}], "c": "x\n"}"#, "{\n  \"a\": true\n}"] {
        takes(&form, text);
    }
    for text in ["[]", "1", " {}", "{}x", "{\"a\": 1", "{\"a\":  1}", "{a: 1}", "{\"a\": 1,}"] {
        refuses(&form, text);
    }
}

#[test]
fn a_schema_holds_the_answer() {
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 12}, "s": {"enum": ["a", "b"]}},
        "required": ["n"],
        "additionalProperties": false
    });
    let constraint = Constraint::JsonSchema(Json(schema.to_string().into()));
    let form = of(&constraint);
    for text in [r#"{"n": 3}"#, r#"{"n":12,"s":"b"}"#] {
        takes(&form, text);
    }
    for text in [r#"{"n": 2}"#, r#"{"n": 13}"#, r#"{"s": "a"}"#, r#"{"n": 3, "s": "c"}"#, r#"{"n": 3, "x": 1}"#] {
        refuses(&form, text);
    }
}

#[test]
fn references_recursion_and_options_that_exclude_each_other_are_enforced() {
    let schema = json!({
        "oneOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/node"}],
        "$defs": {
            "leaf": {"type": "object", "properties": {"kind": {"const": "leaf"}}, "required": ["kind"],
                     "additionalProperties": false},
            "node": {"type": "object", "properties": {"kind": {"const": "node"}, "of": {"$ref": "#"}},
                     "required": ["kind", "of"], "additionalProperties": false}
        }
    });
    let constraint = Constraint::JsonSchema(Json(schema.to_string().into()));
    takes(&of(&constraint), r#"{"kind": "node", "of": {"kind": "node", "of": {"kind": "leaf"}}}"#);
    refuses(&of(&constraint), r#"{"kind": "node", "of": {"kind": "twig"}}"#);
}

#[test]
fn expressions_choices_and_grammars_hold_the_whole_text() {
    let regex = Constraint::Regex("^[a-z]+/[0-9]{2}$".into());
    takes(&of(&regex), "abc/12");
    refuses(&of(&regex), "abc/123");
    refuses(&of(&regex), "/12");
    let choice = Constraint::Choice(vec!["yes".into(), "yes, \"but\"\n".into(), "no".into()]);
    takes(&of(&choice), "yes");
    takes(&of(&choice), "yes, \"but\"\n");
    refuses(&of(&choice), "ye");
    refuses(&of(&choice), "maybe");
    let lark = Constraint::Lark("start: sum\nsum: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]+/".into());
    takes(&of(&lark), "1+22+3");
    refuses(&of(&lark), "1+");
    takes(&of(&Constraint::Regex(String::new())), "");
    let many: Vec<String> = (0..4096).map(|number| number.to_string()).collect();
    takes(&of(&Constraint::Choice(many)), "4095");
    takes(&of(&Constraint::Choice(vec!["0".into(); 4096])), "0");
    takes(&of(&Constraint::Choice(vec![String::new()])), "");
}

#[test]
fn what_cannot_be_enforced_is_refused_with_a_reason() {
    let refused = |constraint: Constraint, expected: &str| {
        let error = grammars().matcher(&of(&constraint)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{constraint:?}: {error}");
    };
    let schema = |schema: serde_json::Value| Constraint::JsonSchema(Json(schema.to_string().into()));
    refused(schema(json!({"type": "string", "format": "iso-country"})), "iso-country");
    refused(schema(json!({"oneOf": [{"minimum": 1}, {"maximum": 5}]})), "oneOf");
    refused(schema(json!({"type": "integer", "minimum": 5, "maximum": 3})), "Unsatisfiable");
    refused(schema(json!({"type": "string", "pattern": "(?=a)b"})), "look-around");
    refused(schema(json!({"$ref": "#/$defs/missing"})), "missing");
    refused(schema(json!({"type": "strange"})), "strange");
    refused(Constraint::Regex("(".into()), "regex");
    refused(Constraint::Lark("start: other".into()), "other");
    refused(Constraint::Choice(Vec::new()), "empty");
    refused(Constraint::Regex("x".repeat(MAX_BYTES + 1)), "longer");
}

#[test]
fn thoughts_come_before_the_answer_and_are_free() {
    let constraint = Constraint::JsonObject;
    let begun = Form { thinking: Thinking::Begun { close: "</think>" }, ..of(&constraint) };
    takes(&begun, "Hm, {x} </thin\n</think>\n\n{}");
    refuses(&begun, "{}");
    let may = Form { thinking: Thinking::May { open: "<think>", close: "</think>" }, ..of(&constraint) };
    takes(&may, "<think>so</think>{}");
    takes(&may, "{}");
    refuses(&may, "so{}");
}

#[test]
fn a_thought_does_not_have_what_ends_it() {
    let constraint = Constraint::JsonObject;
    let form = Form { thinking: Thinking::Begun { close: "</think>" }, ..of(&constraint) };
    let vocabulary = Vocabulary { markers: &["</think>"] };
    vocabulary.takes(&form, "so</think>{}");
    vocabulary.takes(&form, "</think>\n\n{}");
    let mut tokens: Vec<u32> = "</think>".bytes().map(u32::from).collect();
    let last = tokens.pop().expect("it has letters");
    let mut matcher = vocabulary.grammars().matcher(&form).expect("it can be enforced");
    tokens.into_iter().for_each(|token| matcher.take(token).expect("it may begin so"));
    assert!(!matcher.mask().expect("it goes on").allows(last), "its reader would take it for the end");
}

#[test]
fn messages_on_channels_end_with_one_that_is_held() {
    let constraint = Constraint::JsonObject;
    let form = Form { thinking: Thinking::Messages, ..of(&constraint) };
    for markers in [&[][..], HARMONY] {
        let vocabulary = Vocabulary { markers };
        vocabulary.takes(&form, "<|channel|>final<|message|>{}");
        let thought = "<|channel|>analysis<|message|>Hm {<|end|><|start|>assistant";
        vocabulary.takes(&form, &format!("{thought}{thought}<|channel|>final<|message|>{{\"a\": 1}}"));
        for text in ["{}", thought, "<|channel|>final<|message|>x", "<|channel|>analysis<|message|>{}"] {
            vocabulary.refuses(&form, text);
        }
    }
}

const HARMONY: &[&str] = &["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>", "<|call|>"];

#[test]
fn calls_in_messages_are_held_and_words_may_come_before_them() {
    let tools = tools();
    let form = |choice| {
        let calls = Calls { format: ToolFormat::Harmony, tools: &tools, choice, several: true };
        Form { thinking: Thinking::Messages, calls: Some(calls), ..Form::default() }
    };
    let call = "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"n\": 1}<|call|>";
    let thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant";
    let words = "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant";
    let text = "<|channel|>final<|message|>Hello";
    for markers in [&[][..], HARMONY] {
        let vocabulary = Vocabulary { markers };
        let required = form(&ToolChoice::Required);
        vocabulary.takes(&required, call);
        vocabulary.takes(&required, &format!("{thought}{call}"));
        for bad in
            [text, "", words, &format!("{words}{call}"), &call.replace('1', "\"x\""), &call.replace("add", "mul")]
        {
            vocabulary.refuses(&required, bad);
        }
        let auto = form(&ToolChoice::Auto);
        for good in [text, call, &format!("{thought}{words}{call}"), &format!("{words}{text}")] {
            vocabulary.takes(&auto, good);
        }
        vocabulary.refuses(&auto, &call.replace('1', "\"x\""));
    }
}

#[test]
fn calls_in_messages_need_messages() {
    let tools = tools();
    let calls = Calls { format: ToolFormat::Harmony, tools: &tools, choice: &ToolChoice::Required, several: true };
    let form = Form { calls: Some(calls), ..Form::default() };
    assert!(grammars().matcher(&form).is_err_and(|error| error.to_string().contains("message of its own")));
}

#[test]
fn a_token_that_ends_answers_ends_a_call() {
    let tools = tools();
    let calls = Calls { format: ToolFormat::Harmony, tools: &tools, choice: &ToolChoice::Required, several: true };
    let form = Form { thinking: Thinking::Messages, calls: Some(calls), ..Form::default() };
    let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
    tokens.push(VocabularyToken::Marker("<|call|>".into()));
    let mut matcher = Grammars::new(tokens, &[256]).and_then(|all| all.matcher(&form)).expect("it can be enforced");
    for byte in "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{\"n\": 1}".bytes() {
        matcher.take(byte.into()).expect("it is the beginning of a call");
    }
    assert!(matcher.may_end() && matcher.mask().expect("it ends").allows(256));
}

fn tool(name: &str, parameters: serde_json::Value, strict: bool) -> Tool {
    let definition = json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    Tool { definition: Json(definition.to_string().into()), name: name.into(), kind: ToolKind::Function, strict }
}

fn tools() -> Vec<Tool> {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                        "additionalProperties": false});
    vec![tool("add", schema, true), tool("other", json!({"type": "object", "not": {}}), false)]
}

const ADD: &str = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"n\": 1}}\n</tool_call>";
const OTHER: &str = "<tool_call>\n{\"name\": \"other\", \"arguments\": {\"x\": [1]}}\n</tool_call>";

fn check_calls(choice: ToolChoice, several: bool, good: &[&str], bad: &[&str]) {
    let tools = tools();
    let calls = Calls { format: ToolFormat::Hermes, tools: &tools, choice: &choice, several };
    let form = Form { calls: Some(calls), ..Form::default() };
    for markers in [&[][..], &["<tool_call>"], &["<tool_call>", "</tool_call>"]] {
        let vocabulary = Vocabulary { markers };
        for text in good {
            vocabulary.takes(&form, text);
        }
        for text in bad {
            vocabulary.refuses(&form, text);
        }
    }
}

#[test]
fn a_required_call_is_made_and_follows_its_schema() {
    let two = format!("{ADD}\n{OTHER}");
    let wrong = ADD.replace('1', "\"x\"");
    check_calls(ToolChoice::Required, true, &[ADD, OTHER, &two], &["", "Hello", &wrong, &ADD.replace("add", "mul")]);
    check_calls(ToolChoice::Required, false, &[ADD], &[&two]);
}

#[test]
fn a_named_call_is_that_one_and_the_only() {
    let twice = format!("{ADD}\n{ADD}");
    check_calls(ToolChoice::Named("add".into()), true, &[ADD], &[OTHER, "Hello", &twice]);
    let allowed = ToolChoice::Allowed { names: vec!["other".into()], required: true };
    check_calls(allowed, true, &[OTHER], &[ADD, ""]);
}

#[test]
fn a_call_of_a_strict_tool_follows_its_schema_wherever_it_begins() {
    let (late, wrong) = (format!("Let me see: {{}} <b>\n{ADD}"), ADD.replace('1', "\"x\""));
    let good = ["", "Hello there", ADD, OTHER, &late];
    check_calls(
        ToolChoice::Auto,
        true,
        &good,
        &[&wrong, &format!("Hm {wrong}"), "x <tool_call>", &ADD.replace("add", "mul")],
    );
    check_calls(ToolChoice::Auto, false, &[ADD], &[&format!("{ADD}\n{ADD}")]);
}

#[test]
fn the_text_of_a_custom_tool_matches_its_expression() {
    let custom = |form| vec![Tool { kind: ToolKind::Custom(form), ..tool("run", json!({}), false) }];
    let (tools, lark) =
        (custom(TextForm::Regex("[a-z]+ \"[0-9]{2}\"".into())), custom(TextForm::Lark("start: \"a\"".into())));
    let form = |tools| {
        let calls = Calls { format: ToolFormat::Hermes, tools, choice: &ToolChoice::Required, several: false };
        Form { calls: Some(calls), ..Form::default() }
    };
    let call = |text: &str| {
        let arguments = json!({"input": text}).to_string();
        format!("<tool_call>\n{{\"name\": \"run\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    takes(&form(&tools), &call("abc \"12\""));
    refuses(&form(&tools), &call("abc \"1\""));
    assert!(grammars().matcher(&form(&lark)).is_err_and(|error| error.to_string().contains("Lark")));
}

#[test]
fn tools_that_cannot_be_enforced_are_named() {
    let strict = vec![tool("bad", json!({"type": "object", "not": {}}), true)];
    let calls = |tools, choice| Calls { format: ToolFormat::Hermes, tools, choice, several: true };
    let error = |calls| {
        let form = Form { calls: Some(calls), ..Form::default() };
        grammars().matcher(&form).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(error(calls(&strict, &ToolChoice::Auto)).contains("\"bad\""));
    assert!(error(calls(&strict, &ToolChoice::Named("none".into()))).contains("none of the tools"));
}

#[test]
fn deep_schemas_are_held_in_every_way_of_writing() {
    let lists = (0..40).fold(json!({"type": "null"}), |schema, _| json!({"type": "array", "items": schema}));
    let options = (0..10).fold(json!({"type": "null"}), |schema, at| json!({"anyOf": [schema, {"const": at}]}));
    let first = json!({"type": "array", "prefixItems": vec![json!({"type": "null"}); 100], "items": false});
    let properties = json!({"a": lists, "b": options, "c": first});
    let parameters = json!({"type": "object", "properties": properties, "additionalProperties": false});
    let tools = [tool("f", parameters, true)];
    let (deep, first) = ("[".repeat(40) + &"]".repeat(40), vec!["null"; 100]);
    for (format, answer) in [
        (ToolFormat::Pythonic, format!("[f(a={deep}, b=3, c=[{}])]", first.join(", ").replace("null", "None"))),
        (ToolFormat::Gemma, format!("<|tool_call>call:f{{a:{deep},b:3,c:[{}]}}<tool_call|>", first.join(","))),
        (ToolFormat::Functionary, format!("<function=f>{{\"a\": {deep}, \"b\": 3}}</function>")),
    ] {
        let calls = Calls { format, tools: &tools, choice: &ToolChoice::Required, several: false };
        takes(&Form { calls: Some(calls), ..Form::default() }, &answer);
    }
}

#[test]
fn deep_grammars_are_made_or_refused() {
    let rules = (0..14_000).map(|at| format!("r{at}:\"a\"r{}\n", at + 1)).collect::<String>();
    let chain = Constraint::Lark(format!("start: r0\n{rules}r14000: \"b\""));
    // Made, or too much work: it ends in either.
    _ = grammars().matcher(&of(&chain)).map(drop);
    let nested = Constraint::Lark(format!("start: {}\"a\"{}", "(".repeat(10_000), ")".repeat(10_000)));
    assert!(grammars().matcher(&of(&nested)).is_err_and(|error| error.to_string().contains("nested")));
}

#[test]
fn a_clone_goes_its_own_way() {
    let constraint = Constraint::Choice(vec!["ab".into(), "ac".into()]);
    let mut one = grammars().matcher(&of(&constraint)).expect("it can be enforced");
    one.take(u32::from(b'a')).expect("it is allowed");
    let mut other = one.clone();
    one.take(u32::from(b'b')).expect("it is allowed");
    assert!(one.is_complete() && !other.is_complete());
    other.take(u32::from(b'c')).expect("it is allowed");
    assert!(other.is_complete());
    assert!(other.clone().mask().expect("it ends").allows(PLAIN.end()));
}

#[test]
fn a_mask_takes_out_of_a_row_what_it_does_not_have() {
    let constraint = Constraint::Choice(vec!["a".into(), "b".into()]);
    let mask = grammars().matcher(&of(&constraint)).expect("it can be enforced").mask().expect("there is a way");
    let mut row = vec![1.0; 300];
    mask.apply(&mut row);
    let left: Vec<_> = (0..300).filter(|&token| row[token] == 1.0).collect();
    assert_eq!(left, [usize::from(b'a'), usize::from(b'b')]);
    assert_eq!(mask.len(), 2);
    assert!(!mask.is_empty() && !mask.allows(400));
}
