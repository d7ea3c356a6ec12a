//! Answers in each format of calls: as the families write them, and as they go wrong.

use weighbridge_dialogue::{Faults, ToolFormat};

use crate::{parser, read};

const WEATHER: (&str, &str) = ("get_weather", r#"{"city": "Zürich", "unit": "celsius"}"#);
const SEARCH: (&str, &str) = ("search", r#"{"query": "a \"b\" <c>", "limit": 3}"#);
const NOW: (&str, &str) = ("now", "{}");

fn check_faults(format: ToolFormat, answer: &str, text: &str, calls: &[(&str, &str)], faults: Faults) {
    let read = read(parser(Some(format), None), [answer]);
    let calls: Vec<_> = calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
    assert_eq!((read.text.as_str(), &read.calls, read.faults), (text, &calls, faults), "{format}: {answer}");
    let mut ids = read.ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), calls.len(), "{format}: {answer}");
}

fn check(format: ToolFormat, answer: &str, text: &str, calls: &[(&str, &str)]) {
    check_faults(format, answer, text, calls, Faults::default());
}

/// It is no call, and nothing of it is lost.
fn check_text(format: ToolFormat, answer: &str) {
    check_faults(format, answer, answer, &[], Faults { malformed: 1, broken: 0 });
}

#[test]
fn hermes() {
    let format = ToolFormat::Hermes;
    let call = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}}\n</tool_call>";
    check(format, call, "", &[WEATHER]);
    check(format, &format!("Let me see.\n\n{call}\n{call}\n"), "Let me see.", &[WEATHER, WEATHER]);
    check(format, &format!("{call}\nDone.\n"), "Done.\n", &[WEATHER]);
    let list = "<tool_call>[{\"name\": \"a\", \"arguments\": {\"x\": 1}}, {\"name\": \"b\"}]</tool_call>";
    check(format, list, "", &[("a", "{\"x\": 1}"), ("b", "{}")]);
    check(format, "<tool_call>{\"name\": \"now\", \"arguments\": null}</tool_call>", "", &[NOW]);
    let doubly = "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>";
    check(format, doubly, "", &[("f", "{\"a\": 1}")]);
    let tricky = "{\"a\": \"\\\"</tool_call>\\\\\"}";
    let turned = format!("<tool_call>{{\"arguments\": {tricky}, \"name\": \"f\", \"id\": [1]}}</tool_call>");
    check(format, &turned, "", &[("f", tricky)]);
    // A brace and the tag are missing, and the call is whole all the same.
    check(format, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}</tool_call>", "", &[("f", "{\"a\": 1}")]);
    check(format, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "", &[("f", "{\"a\": 1}")]);
    check(format, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_", "", &[("f", "{\"a\": 1}")]);
}

#[test]
fn what_is_no_call_comes_back_as_text() {
    for text in ["", " \n ", "  a <b> c\n", "a < b", "<tool_cal", "</tool_call>", "<tool", "a ", "<toolbox>"] {
        check(ToolFormat::Hermes, text, text, &[]);
    }
    for text in [
        "a\n<tool_call>\n{\"name\": \"add\"",
        "<tool_call>\nadd(1, 2)\n</tool_call>",
        "<tool_call>[]</tool_call>",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": 1}</tool_call>",
        "a <tool_call>{\"arguments\": {}}</tool_call> b",
    ] {
        check_text(ToolFormat::Hermes, text);
    }
}

#[test]
fn a_call_that_breaks_is_left_without_an_end() {
    let broken = Faults { malformed: 0, broken: 1 };
    let begun = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, ";
    check_faults(ToolFormat::Hermes, begun, "", &[("f", "{\"a\": [1, ")], broken);
    let answer = format!("{begun}oops]}}</tool_call>");
    check_faults(ToolFormat::Hermes, &answer, "oops]}</tool_call>", &[("f", "{\"a\": [1, ")], broken);
    let whole = "<tool_call>{\"name\": \"now\"}</tool_call>";
    let answer = format!("{begun}oops {whole}");
    check_faults(ToolFormat::Hermes, &answer, "oops", &[("f", "{\"a\": [1, "), NOW], broken);
    let qwen = "<tool_call>\n<function=search>\n<parameter=limit>\n3";
    check_faults(ToolFormat::QwenXml, qwen, "\n3", &[("search", "{\"limit\": ")], broken);
    let python = "[search(limit=3, query=f(x))]";
    check_faults(ToolFormat::Pythonic, python, "f(x))]", &[("search", "{\"limit\": 3, \"query\": ")], broken);
}

#[test]
fn where_calls_are_told_whole_one_that_breaks_is_text_from_its_beginning_on() {
    let check = |format: ToolFormat, answer: &str, text: &str, calls: &[(&str, &str)]| {
        let read = read(parser(Some(format), None).telling_whole_calls(), [answer]);
        let calls: Vec<_> = calls.iter().map(|&(name, arguments)| (name.to_owned(), arguments.to_owned())).collect();
        let malformed = Faults { malformed: 1, broken: 0 };
        assert_eq!((read.text.as_str(), &read.calls, read.faults), (text, &calls, malformed), "{format}: {answer}");
    };
    let begun = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, ";
    let whole = "<tool_call>{\"name\": \"now\"}</tool_call>";
    check(ToolFormat::Hermes, begun, begun, &[]);
    check(ToolFormat::Hermes, &format!("{begun}oops {whole}"), &format!("{begun}oops"), &[NOW]);
    check(ToolFormat::Hermes, &format!("{whole}\n{begun}"), begun, &[NOW]);
    let qwen = "<tool_call>\n<function=search>\n<parameter=limit>\n3";
    check(ToolFormat::QwenXml, qwen, qwen, &[]);
    let python = "[now(), search(limit=3, query=f(x))]";
    check(ToolFormat::Pythonic, python, ", search(limit=3, query=f(x))]", &[NOW]);
    let kimi = "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": \\}<|tool_call_end|>";
    let section = format!("<|tool_calls_section_begin|>{kimi}");
    check(ToolFormat::Kimi, &section, &section, &[]);
    let harmony = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"a\": \"\\u12z\"}<|call|>";
    check(ToolFormat::Harmony, harmony, "commentary to=functions.f json{\"a\": \"\\u12z\"}", &[]);
}

#[test]
fn lists_in_tags() {
    let apriel = "Well.\n<tool_calls>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}, \"id\": \"abc\"}, {\"name\": \"now\", \"arguments\": {}}]</tool_calls>";
    check(ToolFormat::ToolCalls, apriel, "Well.", &[WEATHER, NOW]);
    let minimax = "<tool_calls>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}}\n{\"name\": \"now\", \"arguments\": {}}\n</tool_calls>";
    check(ToolFormat::ToolCalls, minimax, "", &[WEATHER, NOW]);
}

#[test]
fn qwens_tags() {
    let format = ToolFormat::QwenXml;
    let call = "<function=get_weather>\n<parameter=city>\nZürich\n</parameter>\n<parameter=unit>\ncelsius\n</parameter>\n</function>\n</tool_call>";
    check(format, &format!("Sure.\n\n<tool_call>\n{call}"), "Sure.", &[WEATHER]);
    check(format, call, "", &[WEATHER]);
    let search = "<tool_call>\n<function=search>\n<parameter=query>\na \"b\" <c>\n</parameter>\n<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>";
    check(format, &format!("{search}\n{search}"), "", &[SEARCH, SEARCH]);
    check(format, "<tool_call>\n<function=now>\n</function>\n</tool_call>", "", &[NOW]);
    let lines = "<tool_call><function=search><parameter=query>\n\na\n\n</parameter><parameter=any>True</parameter><parameter=tags>[1, \"x\"]</parameter></function></tool_call>";
    check(format, lines, "", &[("search", r#"{"query": "\na\n", "any": true, "tags": [1, "x"]}"#)]);
    let quoted =
        "<tool_call><function=search><parameter=tags>\n[\"</parameter>\"]\n</parameter></function></tool_call>";
    check(format, quoted, "", &[("search", r#"{"tags": ["</parameter>"]}"#)]);
    let no_list = "<tool_call><function=search><parameter=query>[\"</parameter></function></tool_call>";
    check(format, no_list, "", &[("search", r#"{"query": "[\""}"#)]);
    check_text(format, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>");
}

#[test]
fn tags_of_others() {
    let seed = "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Zürich</parameter>\n<parameter=unit>celsius</parameter>\n</function>\n</seed:tool_call>";
    check(ToolFormat::Seed, seed, "", &[WEATHER]);
    let glm = "Sure.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Zürich</arg_value>\n<arg_key>unit</arg_key>\n<arg_value>celsius</arg_value>\n</tool_call>";
    check(ToolFormat::Glm, glm, "Sure.", &[WEATHER]);
    let glm = "<tool_call>search<arg_key>query</arg_key><arg_value>a \"b\" <c></arg_value><arg_key>limit</arg_key><arg_value>3</arg_value></tool_call><tool_call>now</tool_call>";
    check(ToolFormat::Glm, glm, "", &[SEARCH, NOW]);
    let minimax = "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Zürich</parameter>\n<parameter name=\"unit\">celsius</parameter>\n</invoke>\n<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>";
    check(ToolFormat::MiniMax, minimax, "", &[WEATHER, NOW]);
    let dsml = "I look.\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">Zürich</｜DSML｜parameter>\n<｜DSML｜parameter name=\"unit\" string=\"true\">celsius</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"search\">\n<｜DSML｜parameter name=\"query\" string=\"true\">a \"b\" <c></｜DSML｜parameter>\n<｜DSML｜parameter name=\"limit\" string=\"false\">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>";
    check(ToolFormat::Dsml, dsml, "I look.", &[WEATHER, SEARCH]);
    check(ToolFormat::DsmlToolCalls, &dsml.replace("function_calls", "tool_calls"), "I look.", &[WEATHER, SEARCH]);
    check(
        ToolFormat::Dsml,
        &dsml.replace("string=\"false\">3", "string=\"true\">3"),
        "I look.",
        &[WEATHER, ("search", r#"{"query": "a \"b\" <c>", "limit": "3"}"#)],
    );
}

#[test]
fn deepseek() {
    let v3 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Zürich\", \"unit\": \"celsius\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    check(ToolFormat::DeepSeek, &format!("Well.\n{v3}"), "Well.", &[WEATHER, NOW]);
    let v31 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Zürich\", \"unit\": \"celsius\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    check(ToolFormat::DeepSeekV31, v31, "", &[WEATHER, NOW]);
    check_text(ToolFormat::DeepSeekV31, "<｜tool▁calls▁begin｜>nothing");
}

#[test]
fn kimi_names_its_calls() {
    let answer = "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Zürich\", \"unit\": \"celsius\"}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>";
    check(ToolFormat::Kimi, answer, "", &[WEATHER, NOW]);
    let read = read(parser(Some(ToolFormat::Kimi), None), [answer]);
    assert_eq!(read.ids, ["functions.get_weather:0", "functions.now:1"]);
}

#[test]
fn mistral() {
    for format in [ToolFormat::Mistral, ToolFormat::MistralArgs] {
        let list = "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}}, {\"name\": \"now\", \"arguments\": {}}]";
        check(format, list, "", &[WEATHER, NOW]);
        let named =
            "Well.[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Zürich\", \"unit\": \"celsius\"}[TOOL_CALLS]now[ARGS]{}";
        check(format, named, "Well.", &[WEATHER, NOW]);
        check(format, "[TOOL_CALLS]now{}", "", &[NOW]);
        check_text(format, "[TOOL_CALLS] and so on");
        let read = read(parser(Some(format), None), [named]);
        assert!(read.ids.iter().all(|id| id.len() == 9), "{:?}", read.ids);
    }
    let with_id = "[TOOL_CALLS]get_weather[CALL_ID]abc123XYZ[ARGS]{\"city\": \"Zürich\", \"unit\": \"celsius\"}";
    check(ToolFormat::MistralArgs, with_id, "", &[WEATHER]);
    assert_eq!(read(parser(Some(ToolFormat::MistralArgs), None), [with_id]).ids, ["abc123XYZ"]);
}

#[test]
fn llama() {
    let call = "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}}";
    check(ToolFormat::Llama, call, "", &[WEATHER]);
    check(ToolFormat::Llama, &format!("\n<|python_tag|>{call}; {call}"), "", &[WEATHER, WEATHER]);
    check(ToolFormat::Llama, &format!("[{call}, {call}]"), "", &[WEATHER, WEATHER]);
    check(ToolFormat::Llama, &format!("{{\"type\": \"function\", {}", &call[1..]), "", &[WEATHER]);
    // JSON that was asked for is no call, nor is one that comes later.
    for text in ["{\"name\": \"Ada\", \"age\": 36}", "[1, 2]", "{}", &format!("So: {call}"), "{\"a\": {\"name\": 1}}"] {
        check(ToolFormat::Llama, text, text, &[]);
    }
}

#[test]
fn pythonic() {
    let calls = "[get_weather(city='Zürich', unit=\"celsius\"), search(query='a \"b\" <c>', limit=3)]";
    check(ToolFormat::Pythonic, calls, "", &[WEATHER, SEARCH]);
    check(ToolFormat::Pythonic, &format!("<|python_start|>{calls}<|python_end|>"), "", &[WEATHER, SEARCH]);
    check(ToolFormat::Lfm, &format!("Well.<|tool_call_start|>{calls}<|tool_call_end|>"), "Well.", &[WEATHER, SEARCH]);
    let olmo = "<function_calls>\nget_weather(city=\"Zürich\", unit=\"celsius\")\nnow()\n</function_calls>";
    check(ToolFormat::Olmo, olmo, "", &[WEATHER, NOW]);
    for text in ["[1, 2]", "[link](https://example.com)", "[unknown(a=1)]", "[now"] {
        check(ToolFormat::Pythonic, text, text, &[]);
    }
}

#[test]
fn command() {
    let list = "[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"get_weather\", \"parameters\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}},\n    {\"tool_call_id\": \"1\", \"tool_name\": \"now\", \"parameters\": {}}\n]";
    check(ToolFormat::Command, &format!("<|START_ACTION|>{list}<|END_ACTION|>"), "", &[WEATHER, NOW]);
    check(ToolFormat::CommandR, &format!("Action:\n```json\n{list}```\n"), "", &[WEATHER, NOW]);
    check(ToolFormat::CommandR, &format!("Plan. Action: ```json\n{list}\n```"), "Plan.", &[WEATHER, NOW]);
}

#[test]
fn gemma() {
    let call = "<|tool_call>call:get_weather{city:<|\"|>Zürich<|\"|>,unit:<|\"|>celsius<|\"|>}<tool_call|>";
    check(ToolFormat::Gemma, call, "", &[WEATHER]);
    let search = "<|tool_call>call:search{query:<|\"|>a \"b\" <c><|\"|>,limit:3}<tool_call|>";
    check(ToolFormat::Gemma, &format!("{call}{search}"), "", &[WEATHER, SEARCH]);
}

#[test]
fn lists_behind_a_word() {
    let list = "[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\", \"unit\": \"celsius\"}}, {\"name\": \"now\", \"arguments\": {}}]";
    check(ToolFormat::Phi, &format!("<|tool_call|>{list}<|/tool_call|>"), "", &[WEATHER, NOW]);
    check(ToolFormat::Phi, &format!("<|tool_call|>{list}"), "", &[WEATHER, NOW]);
    check(ToolFormat::Functools, &format!("Well. functools{list}"), "Well.", &[WEATHER, NOW]);
    check(ToolFormat::Functools, "functools are fun", "functools are fun", &[]);
}

#[test]
fn functionary() {
    let call = "<function=get_weather>{\"city\": \"Zürich\", \"unit\": \"celsius\"}</function>";
    check(ToolFormat::Functionary, call, "", &[WEATHER]);
    check(ToolFormat::Functionary, &format!("{call}<function=now>{{}}</function>"), "", &[WEATHER, NOW]);
}

#[test]
fn harmony() {
    let format = ToolFormat::Harmony;
    let call = "commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Zürich\", \"unit\": \"celsius\"}<|call|>";
    check(format, &format!("<|channel|>{call}"), "", &[WEATHER]);
    let other =
        " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\": \"Zürich\", \"unit\": \"celsius\"}";
    check(format, other, "", &[WEATHER]);
    let preamble = format!("<|channel|>commentary<|message|>I look it up.<|end|><|start|>assistant<|channel|>{call}");
    check(format, &preamble, "I look it up.", &[WEATHER]);
    check(format, "<|channel|>commentary to=functions.now<|message|><|call|>", "", &[NOW]);
    check(format, "<|channel|>final<|message|>a <|b <c|><|return|>", "a <|b <c|>", &[]);
    check(format, "Just text.", "Just text.", &[]);
    check(format, "to", "to", &[]);
    check(format, "<|channel|>final<|message|>a<|end|><|start|>assistant<|chan", "a", &[]);
    let malformed = "<|channel|>commentary to=functions.now<|message|>now, please<|end|>";
    let faults = Faults { malformed: 1, broken: 0 };
    check_faults(format, malformed, "commentary to=functions.nownow, please", &[], faults);
}

#[test]
fn text_passes_at_once_but_for_a_possible_tag() {
    let mut parser = parser(Some(ToolFormat::Hermes), None);
    let mut push = |text: &str| {
        let pieces = parser.push(text).into_iter();
        pieces.map(|piece| format!("{piece:?}")).collect::<String>()
    };
    assert_eq!(push("I am"), "Text(\"I am\")");
    assert_eq!(push(" here <"), "Text(\" here\")");
    assert_eq!(push("tool"), "");
    assert_eq!(push("box>"), "Text(\" <toolbox>\")");
}

#[test]
fn arguments_come_as_they_are_written() {
    for (format, pieces) in [
        (ToolFormat::Hermes, ["<tool_call>{\"name\": \"search\", \"arguments\": {\"query\": \"", "one ", "two"]),
        (ToolFormat::QwenXml, ["<tool_call><function=search><parameter=query>", "one ", "two"]),
        (ToolFormat::Pythonic, ["[search(query='", "one ", "two"]),
        (ToolFormat::Gemma, ["<|tool_call>call:search{query:<|\"|>", "one ", "two"]),
        (
            ToolFormat::Kimi,
            [
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{\"query\": \"",
                "one ",
                "two",
            ],
        ),
        (ToolFormat::Harmony, ["<|channel|>commentary to=functions.search<|message|>{\"query\": \"", "one ", "two"]),
    ] {
        let mut parser = parser(Some(format), None);
        let told: Vec<_> = pieces.iter().map(|piece| format!("{:?}", parser.push(piece))).collect();
        assert!(told[0].contains("Some(\"search\")"), "{format}: {told:?}");
        assert!(told[1].contains("\"one \""), "{format}: {told:?}");
        assert!(told[2].contains("\"two\""), "{format}: {told:?}");
    }
}
