use super::*;

fn translate(dialect: Dialect, text: &str) -> Option<String> {
    let (mut literals, mut out) = (Literals::new(dialect), String::from("{"));
    for (at, c) in text.char_indices() {
        match literals.step(c, &mut out) {
            Translated::More => {}
            Translated::Done => return (at + c.len_utf8() == text.len()).then_some(out),
            Translated::Bad => return None,
        }
    }
    None
}

fn check(dialect: Dialect, text: &str, json: &str) {
    assert_eq!(translate(dialect, text).as_deref(), Some(json), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
}

#[test]
fn pythons_arguments_become_json() {
    for (text, json) in [
        (")", "{}"),
        ("a=1, b='x')", "{\"a\": 1, \"b\": \"x\"}"),
        ("a = -1.50 , b=[1,], c=(True, None,),)", "{\"a\": -1.50, \"b\": [1], \"c\": [true, null]}"),
        ("a={'k': {\"l\": []}, 'm': {}})", "{\"a\": {\"k\": {\"l\": []}, \"m\": {}}}"),
        ("a='it\\'s \"\\n\\u00fc\\d')", "{\"a\": \"it's \\\"\\nü\\\\d\"}"),
        ("a=1_000, b=.5, c=1., d=1e3)", "{\"a\": 1000, \"b\": 0.5, \"c\": 1.0, \"d\": 1e3}"),
        ("a=\"x\ny\")", "{\"a\": \"x\\ny\"}"),
    ] {
        check(Dialect::Python, text, json);
    }
}

#[test]
fn gemmas_arguments_become_json() {
    for (text, json) in [
        ("}", "{}"),
        ("city:<|\"|>Zürich<|\"|>,n:3}", "{\"city\": \"Zürich\", \"n\": 3}"),
        ("a:<|\"|>a \"b\" <c> <|\"|>}", "{\"a\": \"a \\\"b\\\" <c> \"}"),
        ("a:[{<|\"|>k<|\"|>:true,l:None}],b:[]}", "{\"a\": [{\"k\": true, \"l\": null}], \"b\": []}"),
    ] {
        check(Dialect::Gemma, text, json);
    }
}

#[test]
fn what_is_no_literal_is_refused() {
    for text in ["1)", "a)", "a=)", "a=f(1))", "a=1 b=2)", "a='x", "a=x)", "a={1: 2})", "a='\\ud800')", "=1)", ",)"] {
        assert_eq!(translate(Dialect::Python, text), None, "{text}");
    }
    for text in ["a=1}", "a:'x'}", "a:<|x|>}", "a:1)"] {
        assert_eq!(translate(Dialect::Gemma, text), None, "{text}");
    }
}
