//! What a template may rely on, with templates of our own.

use jiff::civil::date;
use serde_json::{Map, Value, json};
use weighbridge_dialogue::{ChatTemplate, Conversation, TemplateError, ToolFormat};

const CHATML: &str = include_str!("fixtures/chatml.jinja");

fn conversation(messages: Value) -> Conversation {
    Conversation {
        messages: messages.as_array().cloned().unwrap_or_default(),
        tools: None,
        add_generation_prompt: true,
        extra: Map::new(),
        now: date(2026, 11, 23).at(12, 0, 0, 0),
    }
}

fn render(source: &str, conversation: &Conversation) -> Result<String, TemplateError> {
    ChatTemplate::new(source, &[("bos_token".into(), "<s>".into())])?.render(conversation)
}

fn two_messages() -> Conversation {
    conversation(json!([{"role": "user", "content": "Grüezi"}, {"role": "assistant", "content": "4 < 5"}]))
}

fn check(source: &str, expected: &str) {
    assert_eq!(render(source, &two_messages()).as_deref(), Ok(expected), "{source}");
}

fn check_error(source: &str, expected: &str) {
    let error = render(source, &two_messages()).map_err(|error| error.to_string());
    assert_eq!(error, Err(expected.into()), "{source}");
}

#[test]
fn a_conversation_with_tools_is_written_to_the_byte() {
    let mut conversation = conversation(json!([
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Zürich", "at": [1, 2.0]}}}]},
        {"role": "tool", "content": "4", "tool_call_id": "1", "name": "get_weather"},
        {"role": "assistant", "content": "<think>cold</think>\n\nIt is 4."},
        {"role": "user", "content": "Thanks"},
    ]));
    conversation.tools =
        Some(vec![json!({"type": "function", "function": {"name": "get_weather", "b": 1, "a": "'<&>'"}})]);
    conversation.extra.insert("enable_thinking".into(), false.into());
    let expected = "<s><|system|>\nToday is 23 Nov 2026.\nBe brief.\n<tools>\n\
        {\"name\": \"get_weather\", \"b\": 1, \"a\": \"'<&>'\"}\n</tools>\n\
        Answer with <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>.\n\
        <|user|>Weather in Zürich?\n\
        <|assistant|><tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"at\": [1, 2.0]}}</tool_call>\n\
        <|tool|>get_weather: 4\n<|assistant|>It is 4.\n<|user|>Thanks\n<|assistant|><think></think>";
    assert_eq!(render(CHATML, &conversation).as_deref(), Ok(expected));
}

#[test]
fn a_template_tells_what_it_knows_of_tools() {
    let knows = |source: &str| ChatTemplate::new(source, &[]).map(|known| (known.takes_tools(), known.tool_format()));
    assert_eq!(knows(CHATML), Ok((true, Some(ToolFormat::Hermes))));
    assert_eq!(knows("{{ messages[0].content }}"), Ok((false, None)));
    assert_eq!(knows("{% if tools is defined %}{{ tools | tojson }}{% endif %}"), Ok((true, None)));
    assert_eq!(knows("{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools }}"), Ok((true, None)));
    assert_eq!(knows("{% set tools = tools or [] %}{{ tools }}"), Ok((true, None)));
    let xml =
        "{% for tool in tools %}{{ '<tool_call>\\n<function=' + tool.name }}<parameter= \"arguments\"{% endfor %}";
    assert_eq!(knows(xml), Ok((true, Some(ToolFormat::QwenXml))));
}

#[test]
fn values_are_printed_as_python_prints_them() {
    check("{{ none }} {{ true }} {{ 1.0 }} {{ 1e20 }} {{ 4 / 2 }} {{ 7 // 2 }}", "None True 1.0 1e+20 2.0 3");
    check("{{ ['a', \"it's\", none, {'k': true}] }}", "['a', \"it's\", None, {'k': True}]");
    check("[{{ nothing }}{{ messages[0].nothing }}{{ messages[9] }}]", "[]");
    check("{{ 'a' ~ 1 ~ none }} {{ tools }} {{ tools is defined }} {{ documents is none }}", "a1None None True True");
}

#[test]
fn json_is_written_as_python_dumps_it() {
    check("{{ {'b': [1, 2.0, none], 'a': 'é<\\'\"\\n'} | tojson }}", r#"{"b": [1, 2.0, null], "a": "é<'\"\n"}"#);
    check("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
    check(
        "{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}",
        r#"{"a": 1, "b": "\u00e9\ud83d\ude00"}"#,
    );
    check("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", "[1,{\"a\":2}]");
    check("{{ messages[1:] | tojson }}", r#"[{"role": "assistant", "content": "4 < 5"}]"#);
}

#[test]
fn methods_and_slices_are_pythons() {
    check("{{ ' a b '.strip() }}|{{ 'xax'.strip('x') }}|{{ 'a,b,c'.split(',', 1) }}", "a b|a|['a', 'b,c']");
    check(
        "{{ ' a  b '.split() }}{{ 'a b c'.rsplit(none, 1) }}{{ 'a\\r\\nb\\n'.splitlines() }}",
        "['a', 'b']['a b', 'c']['a', 'b']",
    );
    check(
        "{{ \"they're\".title() }} {{ 'abc'.removeprefix('a') }} {{ 'a=b=c'.rpartition('=') }}",
        "They'Re bc ('a=b', '=', 'c')",
    );
    check("{{ '-4'.zfill(4) }}|{{ 'ab'.center(7, '*') }}|{{ 'ab'.ljust(3) }}|", "-004|***ab**|ab |");
    check("{{ {'items': 1}.items() | list }} {{ {'a': 1}.get('b', 2) }}", "[('items', 1)] 2");
    check(
        "{{ messages[::-1][0].role }} {{ 'abc'[::-1] }} {{ 'abc'[-2:] }} {{ (messages[1:] | first).role }}",
        "assistant cba bc assistant",
    );
}

#[test]
fn generators_are_lazy_as_in_python() {
    check("{% set g = [1, 2] | map('string') %}{{ g | list }}{{ g | list }}", "['1', '2'][]");
    check("{{ 'yes' if [] | select('odd') else 'no' }}", "yes");
    check("{% for x in [1, 2, 3] | select('odd') %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2 ");
    check_error(
        "{{ [1] | map('string') | tojson }}",
        "cannot write the conversation with the chat template: could not serialize to value: \
         a value of type iterator is not JSON serializable (line 1 of the template)",
    );
}

#[test]
fn white_space_and_tags_are_jinjas() {
    check("  {% if true %}\n  a\n  {%- endif +%}\n b\n{# c #}\n", "  a\n b\n");
    check("{% generation %}\n{% set a = 1 %}\na{{ a }}{% endgeneration %}{{ a }}\n", "a1");
    check("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13");
    check("{{ '<b>' | safe + '<i>' }}{{ '<b>' | safe ~ '<i>' }}", "<b>&lt;i&gt;<b><i>");
}

#[test]
fn what_python_refuses_is_refused() {
    for source in [
        "{% for tool in tools %}{% endfor %}",
        "{{ messages[0].nothing.nothing }}",
        "{{ 'a' + 1 }}",
        "{{ messages.append(1) }}",
        "{{ none | length }}",
        "{{ nothing() }}",
        "{{ nothing | tojson }}",
    ] {
        let error = render(source, &two_messages());
        assert!(error.as_ref().is_err_and(|error| !error.refused && error.line == Some(1)), "{source}: {error:?}");
    }
}

#[test]
fn an_error_names_its_line() {
    check_error(
        "a\n{{ 'a' }",
        "cannot read the chat template: syntax error: unexpected `}`, expected end of variable block (line 2 of the template)",
    );
    check_error(
        "a\r\nb\n{{ messages.nothing() }}",
        "cannot write the conversation with the chat template: unknown method: sequence has no method named nothing (line 3 of the template)",
    );
}

#[test]
fn a_refusal_tells_the_templates_words_and_none_of_the_conversations() {
    let error = render(CHATML, &conversation(json!([{"role": "secret", "content": ""}])));
    let message = "the chat template refuses the conversation: A conversation needs a user, got…";
    assert_eq!(error, Err(TemplateError { line: Some(11), message: message.into(), refused: true }));
}
