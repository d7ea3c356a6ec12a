//! Templates that mean harm: each ends in an error that says why, and none in a panic or an overflow of
//! the stack, which would take every other request with it.

use jiff::civil::DateTime;
use proptest::prelude::*;
use serde_json::Map;
use weighbridge_dialogue::{ChatTemplate, Conversation, TemplateError};

fn render(source: &str) -> Result<String, TemplateError> {
    let (messages, tools, extra, now) = (Vec::new(), None, Map::new(), DateTime::ZERO);
    let conversation = Conversation { messages, tools, add_generation_prompt: true, extra, now };
    ChatTemplate::new(source, &[])?.render(&conversation)
}

fn check(source: &str, reason: &str) {
    let source_start: String = source.chars().take(80).collect();
    match render(source) {
        Ok(text) => assert_eq!(reason, "", "{source_start} wrote {} bytes", text.len()),
        Err(error) => assert!(!reason.is_empty() && error.message.contains(reason), "{source_start}: {error}"),
    }
}

/// A loop that nests what `ns.x` holds in itself.
fn nested(turns: usize, value: &str, then: &str) -> String {
    format!(
        "{{% set ns = namespace(x=[1]) %}}{{% for i in range({turns}) %}}{{% set ns.x = {value} %}}{{% endfor %}}{then}"
    )
}

#[test]
fn values_do_not_nest_without_end() {
    check(&nested(5000, "[ns.x]", ""), "nested too deeply");
    check(&nested(5000, "{'x': ns.x}", "{{ ns.x }}"), "nested too deeply");
    check(&nested(5000, "[ns.x] | map('list')", ""), "nested too deeply");
    check(&nested(5000, "{'a': ns.x}.items()", ""), "nested too deeply");
    check(&nested(5000, "(ns.x, 1)", ""), "nested too deeply");
    check(&"{% set x = [x] %}".repeat(1000), "nested too deeply");
    check(&nested(100, "[ns.x]", "{{ ns.x | tojson | length }}"), "");
    check(&nested(5000, "ns.x[0:]", "{{ ns.x }}"), "");
    check(&nested(2000, "ns.x + [i]", "{{ ns.x }}"), "");
}

#[test]
fn values_do_not_hold_themselves() {
    check(&nested(1, "ns", "{{ ns }}"), "hold itself");
    check(&nested(1, "[ns]", "{{ ns }}"), "hold itself");
    check(&nested(1, "loop", "{{ ns }}"), "hold itself");
    check("{% set a = namespace() %}{% set b = namespace(a=a) %}", "hold itself");
}

#[test]
fn calls_do_not_nest_without_end() {
    check("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "recursion limit");
    check(
        "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}",
        "recursion limit",
    );
    check("{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}", "recursion limit");
}

#[test]
fn sources_do_not_nest_without_end() {
    for sign in ["(", "[", "not ", "-", "1 if x else "] {
        check(&format!("{{{{ {}1 }}}}", sign.repeat(20_000)), "too long");
    }
    for sign in [".b", "+1", "|string", "**2", " and 1", "~1", "()", "<1", "[1]"] {
        check(&format!("{{{{ a{} }}}}", sign.repeat(20_000)), "too long");
    }
    check(&"{% if true %}".repeat(1000), "recursion limits");
    check(&format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(1000)), "too many elifs");
    check(&format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(250)), "");
    check(&"a".repeat(2 << 20), "longer than 1048576 bytes");
}

#[test]
fn sources_just_within_their_bounds_fit_the_stack() {
    // Whatever comes of them, they are read and run on the stack of a test's thread.
    let elifs = |inside: &str| format!("{{% if false %}}{}{inside}{{% endif %}}", "{% elif false %}".repeat(249));
    let ifs = |inside: &str| format!("{}{inside}{}", "{% if true %}".repeat(140), "{% endif %}".repeat(140));
    for sign in ["not ", "-", "1 if x else "] {
        let _ = render(&ifs(&elifs(&format!("{{{{ {}1 }}}}", sign.repeat(240)))));
    }
    for sign in [".b", "+1", "|string", "**2", " and 1", "~1", "()", "<1", "[1]", "[0:]"] {
        let _ = render(&ifs(&elifs(&format!("{{{{ a{} }}}}", sign.repeat(240)))));
        let _ = render(&ifs(&format!("{{{{ 'a'{} }}}}", sign.repeat(240))));
    }
    let _ = render(&format!("{{% set a = [1] %}}{{{{ a{} }}}}", "[0:]".repeat(240)));
    let _ = render(&format!("{{% set a = [1] %}}{{{{ a{} }}}}", "|batch(1)".repeat(180)));
    let _ = render(&format!("{{% set a = [1] %}}{{{{ a{} }}}}", "|reverse".repeat(480)));
}

#[test]
fn work_and_length_are_bounded() {
    check("{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{{ x }}{% endfor %}", "the prompt is longer");
    check("{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{% set y = x ~ i %}{% endfor %}", "steps");
    check("{% set x = 'a' * 1000000 %}{{ x | replace('a', x) | length }}", "steps");
    check(&nested(100, "ns.x ~ ns.x", ""), "too long");
    check("{{ 'a'.center(99999999999) }}", "steps");
    check("{{ 'a' * 99999999999 }}", "steps");
    check("{{ 10 ** 1000 }}", "a number out of range");
    check("{{ strftime_now('%999999999d') }}", "does not know this format");
}

#[test]
fn a_panic_of_the_engine_is_an_error() {
    check("{% for x in [1] %}{{ loop.cycle() }}{% endfor %}", "what its engine cannot");
}

proptest! {
    #[test]
    fn any_source_is_read_or_refused(parts in prop::collection::vec(prop_oneof![
        prop::sample::select(vec![
            "{{", "}}", "{%", "%}", "{#", "#}", "-%}", "{%-", "for x in ", "set x = ", "set n.x = ", "if ", "elif ", "endif",
            "endfor", "raw", "endraw", "generation", "endgeneration", "messages", "|safe", " + ", "'", "\"", "\\", "(", ")", "[", "{", "}",
            "\r\n", "=", ".", "ü", "'\\ü'", " ", "namespace()", "|list", "|tojson", "1",
        ]).prop_map(str::to_owned),
        ".{0,3}",
    ], 0..24)) {
        // Read or refused: only a panic would be wrong.
        let _ = render(&parts.concat());
    }
}
