use serde_json::json;
use weighbridge_backend::{Constraint, Json, TextForm, Tool, ToolChoice, ToolKind};

use super::*;

/// A byte a token, and after these a marker and the token that ends an answer.
const MARKER: u32 = 256;
const END: u32 = 257;

fn grammars() -> Grammars {
    let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
    tokens.push(VocabularyToken::Marker("<call>".into()));
    tokens.push(VocabularyToken::Marker("<end>".into()));
    Grammars::new(tokens, &[END]).expect("it has an end")
}

/// How many tokens the form allows, and whether the answer may end there.
fn follow(form: &Form<'_>, tokens: &[u32]) -> (usize, bool) {
    let mut matcher = grammars().matcher(form).expect("it can be enforced");
    for (at, &token) in tokens.iter().enumerate() {
        if matcher.is_complete() || !matcher.mask().is_ok_and(|mask| mask.allows(token)) {
            return (at, false);
        }
        matcher.take(token).expect("the mask allowed it");
    }
    let may_end = matcher.may_end();
    assert_eq!(matcher.mask().expect("it goes on or ends").allows(END), may_end);
    (tokens.len(), may_end)
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn takes(form: &Form<'_>, text: &str) {
    assert_eq!(follow(form, &bytes(text)), (text.len(), true), "{text}");
}

fn refuses(form: &Form<'_>, text: &str) {
    assert_ne!(follow(form, &bytes(text)), (text.len(), true), "{text}");
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

fn shape(trigger: &str) -> CallForm {
    CallForm {
        open: String::new(),
        begin: format!("{trigger}\n{{\"name\": \""),
        between: "\", \"arguments\": ".into(),
        end: "}\n</call>".into(),
        separator: Some("\n".into()),
        close: String::new(),
        trigger: trigger.into(),
        markers: vec![trigger.into(), "</call>".into()],
    }
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

const ADD: &str = "<call>\n{\"name\": \"add\", \"arguments\": {\"n\": 1}}\n</call>";
const OTHER: &str = "<call>\n{\"name\": \"other\", \"arguments\": {\"x\": [1]}}\n</call>";

/// The tokens of a text in which `<call>` is the marker.
fn marked(text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    for (at, piece) in text.split("<call>").enumerate() {
        tokens.extend((at > 0).then_some(MARKER));
        tokens.extend(bytes(piece));
    }
    tokens
}

fn check_calls(choice: ToolChoice, several: bool, good: &[&str], bad: &[&str]) {
    let tools = tools();
    for (trigger, tokens) in [("<coll>", bytes as fn(&str) -> Vec<u32>), ("<call>", marked)] {
        let shape = shape(trigger);
        let calls = Calls { shape: &shape, tools: &tools, choice: &choice, several };
        let form = Form { calls: Some(calls), ..Form::default() };
        let tokens = |text: &str| tokens(&text.replace("<call>", trigger));
        for text in good {
            let tokens = tokens(text);
            assert_eq!(follow(&form, &tokens), (tokens.len(), true), "{trigger} {text}");
        }
        for text in bad {
            let tokens = tokens(text);
            assert_ne!(follow(&form, &tokens), (tokens.len(), true), "{trigger} {text}");
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
    let good = ["", "Hello </call> there", ADD, OTHER, &late];
    check_calls(
        ToolChoice::Auto,
        true,
        &good,
        &[&wrong, &format!("Hm {wrong}"), "x <call>", &ADD.replace("add", "mul")],
    );
    check_calls(ToolChoice::Auto, false, &[ADD], &[&format!("{ADD}\n{ADD}")]);
}

#[test]
fn the_text_of_a_custom_tool_matches_its_expression() {
    let custom = |form| vec![Tool { kind: ToolKind::Custom(form), ..tool("run", json!({}), false) }];
    let (tools, lark) =
        (custom(TextForm::Regex("[a-z]+ \"[0-9]{2}\"".into())), custom(TextForm::Lark("start: \"a\"".into())));
    let shape = shape("<coll>");
    let form = |tools| {
        let calls = Calls { shape: &shape, tools, choice: &ToolChoice::Required, several: false };
        Form { calls: Some(calls), ..Form::default() }
    };
    let call = |text: &str| {
        let arguments = json!({"input": text}).to_string();
        format!("<coll>\n{{\"name\": \"run\", \"arguments\": {arguments}}}\n</call>")
    };
    takes(&form(&tools), &call("abc \"12\""));
    refuses(&form(&tools), &call("abc \"1\""));
    assert!(grammars().matcher(&form(&lark)).is_err_and(|error| error.to_string().contains("Lark")));
}

#[test]
fn tools_that_cannot_be_enforced_are_named() {
    let strict = vec![tool("bad", json!({"type": "object", "not": {}}), true)];
    let shape = shape("<call>");
    let calls = |tools, choice| Calls { shape: &shape, tools, choice, several: true };
    let error = |calls| {
        let form = Form { calls: Some(calls), ..Form::default() };
        grammars().matcher(&form).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(error(calls(&strict, &ToolChoice::Auto)).contains("\"bad\""));
    assert!(error(calls(&strict, &ToolChoice::Named("none".into()))).contains("none of the tools"));
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
    assert!(other.clone().mask().expect("it ends").allows(END));
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
