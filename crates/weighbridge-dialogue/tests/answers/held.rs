//! Calls under a grammar, in every format: what it takes comes back as calls that hold to their schemas, and what
//! holds to them it takes.

use serde_json::{Map, Value, json};
use weighbridge_backend::{Json, Tool, ToolChoice, ToolKind};
use weighbridge_dialogue::{
    AnswerFormat, AnswerParser, CallShape, Calls, Faults, Form, Grammars, Matcher, Thinking, ToolFormat, ToolSchemas,
    VocabularyToken,
};

use crate::shapes::write;
use crate::{Read, read};

fn schemas() -> Vec<(&'static str, Value)> {
    let weather = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 8},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14}
        },
        "required": ["city"],
        "additionalProperties": false
    });
    let search = json!({
        "type": "object",
        "properties": {
            "query": {"type": ["string", "null"]},
            "range": {
                "type": "object",
                "properties": {"from": {"type": "number"}, "to": {"$ref": "#/$defs/level"}, "on": {"format": "date", "type": "string"}},
                "required": ["to"],
                "additionalProperties": false
            },
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,3}$"}, "minItems": 1, "maxItems": 2},
            "exact": {"type": "boolean"},
            "any": {},
            "either": {"anyOf": [{"type": "string", "maxLength": 4}, {"type": "integer"}, {"type": "array", "items": {"type": "null"}}]},
            "tree": {"$ref": "#/$defs/tree"}
        },
        "required": ["query", "range"],
        "additionalProperties": false,
        "$defs": {
            "level": {"enum": ["low", "high", null, 3]},
            "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "value": {"type": "string"}},
                     "additionalProperties": false}
        }
    });
    vec![
        ("get_weather", weather),
        ("search", search),
        ("now", json!({"type": "object", "properties": {}, "additionalProperties": false})),
        ("free", json!({"type": "object"})),
        ("counts", json!({"type": "object", "additionalProperties": {"type": "integer"}})),
    ]
}

fn tools() -> Vec<Tool> {
    let tool = |(name, parameters): (&str, Value)| {
        let definition = json!({"type": "function", "function": {"name": name, "parameters": parameters}});
        let definition = Json(definition.to_string().into());
        Tool { definition, name: name.into(), kind: ToolKind::Function, strict: true }
    };
    schemas().into_iter().map(tool).collect()
}

/// A byte a token, and what a format is written with as words, or as markers.
struct Vocabulary {
    tokens: Vec<VocabularyToken>,
    words: Vec<String>,
}

impl Vocabulary {
    fn of(format: ToolFormat, as_markers: bool) -> Self {
        let format_of = AnswerFormat { tools: Some(format), reasoning: None };
        let mut markers: Vec<String> = format_of.markers().into_iter().map(str::to_owned).collect();
        markers.retain(|marker| marker.len() > 1);
        markers.sort();
        markers.dedup();
        let mut words: Vec<String> = ["null", "true", "None", "\"}", "42", "0.5"].map(str::to_owned).to_vec();
        if let (CallShape::Tags { after_value, .. }, false) = (format.shape().call, as_markers) {
            words.push(after_value.to_owned());
            words.extend(after_value.strip_suffix('\n').map(str::to_owned));
        }
        words.retain(|word| !markers.contains(word));
        let text = |word: &String| VocabularyToken::Text(word.clone().into_bytes());
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
        tokens.extend(markers.iter().map(|it| if as_markers { VocabularyToken::Marker(it.clone()) } else { text(it) }));
        tokens.extend(words.iter().map(text));
        tokens.push(VocabularyToken::Marker("<end>".into()));
        Self { tokens, words: [markers, words].concat() }
    }

    fn end(&self) -> u32 {
        self.tokens.len() as u32 - 1
    }

    fn matcher(&self, format: ToolFormat, tools: &[Tool], choice: &ToolChoice, several: bool) -> Matcher {
        let thinking = if format == ToolFormat::Harmony { Thinking::Messages } else { Thinking::None };
        let form = Form { thinking, calls: Some(Calls { format, tools, choice, several }), ..Form::default() };
        let grammars = Grammars::new(self.tokens.clone(), &[self.end()]).expect("it has an end");
        grammars.matcher(&form).map_err(|error| format!("{format}: {error}")).expect("it can be held")
    }

    /// The tokens of a text: its longest words, and bytes.
    fn tokens(&self, text: &str) -> Vec<u32> {
        let (mut tokens, mut at) = (Vec::new(), 0);
        while let Some(&byte) = text.as_bytes().get(at) {
            let rest = &text.as_bytes()[at..];
            let found = self.words.iter().enumerate().filter(|(_, word)| rest.starts_with(word.as_bytes()));
            match found.max_by_key(|(_, word)| word.len()) {
                Some((index, word)) => {
                    tokens.push(256 + index as u32);
                    at += word.len();
                }
                None => {
                    tokens.push(byte.into());
                    at += 1;
                }
            }
        }
        tokens
    }

    fn bytes(&self, token: u32) -> Vec<u8> {
        match (token as usize).checked_sub(256) {
            None => vec![token as u8],
            Some(word) => self.words[word].clone().into_bytes(),
        }
    }
}

fn takes(vocabulary: &Vocabulary, mut matcher: Matcher, text: &str) -> bool {
    for token in vocabulary.tokens(text) {
        if matcher.is_complete() || !matcher.mask().is_ok_and(|mask| mask.allows(token)) {
            return false;
        }
        matcher.take(token).expect("the mask allowed it");
    }
    matcher.may_end()
}

/// SplitMix64, Steele, Lea and Flood 2014.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below.max(1) as u64) as usize
    }
}

/// An answer drawn at random from what the grammar allows; `None` where it does not come to an end.
fn walk(vocabulary: &Vocabulary, mut matcher: Matcher, random: &mut Random) -> Option<String> {
    let mut text = Vec::new();
    for _ in 0..500 {
        if matcher.is_complete() {
            break;
        }
        let mask = matcher.mask().map_err(|error| format!("{error} after {}", String::from_utf8_lossy(&text)));
        let mask = mask.expect("there is a way on");
        let allowed = |tokens: std::ops::Range<u32>| tokens.filter(|&token| mask.allows(token)).collect::<Vec<_>>();
        if mask.allows(vocabulary.end()) && random.below(10) < 7 {
            break;
        }
        let words = allowed(256..vocabulary.end());
        let closing: Vec<u32> = b"\"]})>\n".iter().map(|&byte| byte.into()).filter(|&it| mask.allows(it)).collect();
        let plain = allowed(0..256);
        let from = match random.below(10) {
            0..5 if !words.is_empty() => words,
            5..8 if !closing.is_empty() => closing,
            _ if plain.is_empty() => words,
            _ => plain,
        };
        if from.is_empty() {
            break;
        }
        let token = from[random.below(from.len())];
        matcher.take(token).expect("the mask allowed it");
        text.extend(vocabulary.bytes(token));
    }
    matcher.may_end().then(|| String::from_utf8(text).expect("it is text"))
}

fn read_back(format: ToolFormat, tools: &[Tool], text: &str) -> Read {
    let format = AnswerFormat { tools: Some(format), reasoning: None };
    read(AnswerParser::new(format, ToolSchemas::new(tools), "seed"), [text])
}

/// Every call holds to the schema of its tool.
fn check(format: ToolFormat, answer: &str, read: &Read) {
    assert_eq!(read.faults, Faults::default(), "{format}: {answer}");
    for (name, arguments) in &read.calls {
        let schemas = schemas();
        let (_, schema) = schemas.iter().find(|(of, _)| of == name).expect("it is one of the tools");
        let arguments = match serde_json::from_str::<Value>(arguments) {
            // JSON all the same, and what no schema of these forbids.
            Err(error) if error.to_string().contains("out of range") => continue,
            parsed => parsed.map_err(|error| format!("{format}: {error} in {arguments} of {answer}")),
        };
        let arguments = arguments.expect("it is JSON");
        let validator = jsonschema::options().should_validate_formats(true).build(schema).expect("it is a schema");
        let outcome = validator.validate(&arguments).map_err(|error| error.to_string());
        assert_eq!(outcome, Ok(()), "{format}: {arguments} of {answer}");
    }
}

fn walks(choice: &ToolChoice, several: bool, count: usize, seen: impl Fn(ToolFormat, &str, &Read)) {
    let tools = tools();
    for (at, &format) in ToolFormat::ALL.iter().enumerate() {
        for as_markers in [false, true] {
            let vocabulary = Vocabulary::of(format, as_markers);
            let matcher = vocabulary.matcher(format, &tools, choice, several);
            let mut random = Random(at as u64);
            let ended = (0..count).filter_map(|_| walk(&vocabulary, matcher.clone(), &mut random)).map(|answer| {
                let read = read_back(format, &tools, &answer);
                check(format, &answer, &read);
                seen(format, &answer, &read);
            });
            assert!(ended.count() * 3 >= count, "{format}: most answers come to an end");
        }
    }
}

#[test]
fn what_must_be_calls_comes_back_as_calls() {
    walks(&ToolChoice::Required, true, 20, |format, answer, read| {
        assert!(read.text.is_empty() && !read.calls.is_empty(), "{format}: {answer}");
    });
}

#[test]
fn one_call_is_one() {
    walks(&ToolChoice::Required, false, 5, |format, answer, read| {
        assert!(read.text.is_empty() && read.calls.len() == 1, "{format}: {answer}");
    });
}

#[test]
fn in_free_text_every_call_is_held() {
    walks(&ToolChoice::Auto, true, 10, |_, _, _| {});
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[test]
fn calls_that_hold_to_their_schemas_are_taken() {
    let tools = tools();
    let search = json!({"query": "a b", "range": {"from": 0.5, "to": "low", "on": "2024-02-29"}, "limit": null,
                        "tags": ["x", "yz"], "exact": true, "any": "x", "either": [null], "tree": {"left": {"left": {}, "value": "v"}}});
    let all = [
        ("get_weather", object(json!({"city": "Zürich", "unit": "celsius", "days": 14}))),
        ("get_weather", object(json!({"city": "<b> {a}\""}))),
        ("search", object(search)),
        ("search", object(json!({"query": null, "range": {"to": 3}, "either": "ab"}))),
        ("now", Map::new()),
        ("free", object(json!({"x": [1, {"y": null}], "z": "text"}))),
        ("counts", object(json!({"a": 1, "b": -2}))),
    ];
    for &format in ToolFormat::ALL {
        for as_markers in [false, true] {
            let vocabulary = Vocabulary::of(format, as_markers);
            let matcher = vocabulary.matcher(format, &tools, &ToolChoice::Required, true);
            for call in &all {
                let answer = write(format, std::slice::from_ref(call));
                assert!(takes(&vocabulary, matcher.clone(), &answer), "{format} {as_markers}: {answer}");
            }
            if format.shape().several {
                let answer = write(format, &all);
                assert!(takes(&vocabulary, matcher, &answer), "{format} {as_markers}: {answer}");
            }
        }
    }
}

#[test]
fn calls_that_do_not_hold_to_them_are_refused() {
    let tools = tools();
    let all = [
        ("get_weather", json!({})),
        ("get_weather", json!({"city": "much too long"})),
        ("get_weather", json!({"city": ""})),
        ("get_weather", json!({"city": "Oslo", "unit": "kelvin"})),
        ("get_weather", json!({"city": "Oslo", "days": 15})),
        ("get_weather", json!({"city": "Oslo", "days": "3"})),
        ("get_weather", json!({"city": "Oslo", "other": 1})),
        ("search", json!({"query": "a"})),
        ("search", json!({"query": "a", "range": {"from": 1}})),
        ("search", json!({"query": "a", "range": {"to": "middle"}})),
        ("search", json!({"query": "a", "range": {"to": "low"}, "tags": []})),
        ("search", json!({"query": "a", "range": {"to": "low"}, "tags": ["long"]})),
        ("search", json!({"query": "a", "range": {"to": "low"}, "exact": 1})),
        ("search", json!({"query": "a", "range": {"to": "low"}, "either": "too long"})),
        ("search", json!({"query": "a", "range": {"to": "low"}, "tree": {"right": {}}})),
        ("now", json!({"a": 1})),
        ("counts", json!({"a": "x"})),
        ("unknown", json!({})),
    ];
    for &format in ToolFormat::ALL {
        let vocabulary = Vocabulary::of(format, true);
        let matcher = vocabulary.matcher(format, &tools, &ToolChoice::Required, true);
        for (name, arguments) in &all {
            // Days as text are a number where strings have no quotes.
            let bare = matches!(format.shape().call, CallShape::Tags { .. });
            if bare && arguments.get("days") == Some(&json!("3")) {
                continue;
            }
            let answer = write(format, &[(name, object(arguments.clone()))]);
            assert!(!takes(&vocabulary, matcher.clone(), &answer), "{format}: {answer}");
        }
    }
}
