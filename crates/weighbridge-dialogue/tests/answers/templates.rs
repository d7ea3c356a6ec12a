//! Which formats the chat templates of real models are told to have.

use std::path::{Path, PathBuf};

use weighbridge_dialogue::{ChatTemplate, ReasoningFormat, ToolFormat};

type Formats = (Option<ToolFormat>, Option<ReasoningFormat>);

/// What a template is to tell; `None` for one that is new here.
fn expected(name: &str) -> Option<Formats> {
    use ReasoningFormat as Thinks;
    use ToolFormat as Calls;
    Some(match name {
        "Apriel-1.6-15b-Thinker-fixed" | "unsloth-Apriel-1.5" => (Some(Calls::ToolCalls), Some(Thinks::Apriel)),
        "Cohere2MoE" | "CohereForAI-c4ai-command-r7b-12-2024-tool_use" => (Some(Calls::Command), Some(Thinks::Command)),
        "CohereForAI-c4ai-command-r-plus-tool_use" => (Some(Calls::CommandR), None),
        "GLM-4.6" => (Some(Calls::Glm), Some(Thinks::Think)),
        "Kimi-K2-Instruct" | "moonshotai-Kimi-K2" => (Some(Calls::Kimi), None),
        "Kimi-K2-Thinking" => (Some(Calls::Kimi), Some(Thinks::Think)),
        "MiniMax-M1" => (Some(Calls::ToolCalls), None),
        "Mistral-Small-3.2-24B-Instruct-2506" | "unsloth-mistral-Devstral-Small-2507" => {
            (Some(Calls::MistralArgs), None)
        }
        "mistralai-Ministral-3-14B-Reasoning-2512" => (Some(Calls::MistralArgs), Some(Thinks::Mistral)),
        "mistralai-Mistral-Nemo-Instruct-2407" => (Some(Calls::Mistral), None),
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use"
        | "NousResearch-Hermes-3-Llama-3.1-8B-tool_use"
        | "Qwen-Qwen2.5-7B-Instruct"
        | "ibm-granite-granite-4.0" => (Some(Calls::Hermes), None),
        "Qwen-QwQ-32B" | "Qwen-Qwen3-0.6B" => (Some(Calls::Hermes), Some(Thinks::Think)),
        "Qwen3-Coder" => (Some(Calls::QwenXml), None),
        "Qwen3.5-4B" => (Some(Calls::QwenXml), Some(Thinks::Think)),
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"
        | "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"
        | "llama-cpp-deepseek-r1" => (Some(Calls::DeepSeek), Some(Thinks::Think)),
        "deepseek-ai-DeepSeek-V3.1" => (Some(Calls::DeepSeekV31), Some(Thinks::Think)),
        "deepseek-ai-DeepSeek-V3.2" => (Some(Calls::Dsml), Some(Thinks::Think)),
        "deepseek-ai-DeepSeek-V4" | "deepseek-ai-DeepSeek-V4-Flash-0731" => {
            (Some(Calls::DsmlToolCalls), Some(Thinks::Think))
        }
        "fireworks-ai-llama-3-firefunction-v2" => (Some(Calls::Functools), None),
        "google-gemma-4-31B-it" | "google-gemma-4-31B-it-interleaved" => (Some(Calls::Gemma), Some(Thinks::Gemma)),
        "ibm-granite-granite-3.3-2B-Instruct" => (Some(Calls::Phi), Some(Thinks::Granite)),
        "meetkai-functionary-medium-v3.1" => (Some(Calls::Functionary), None),
        "meta-llama-Llama-3.1-8B-Instruct"
        | "meta-llama-Llama-3.2-3B-Instruct"
        | "meta-llama-Llama-3.3-70B-Instruct" => (Some(Calls::Llama), None),
        "openai-gpt-oss-120b" => (Some(Calls::Harmony), Some(Thinks::Harmony)),
        "HuggingFaceTB-SmolLM3-3B" | "llama-cpp-rwkv-world" => (None, Some(Thinks::Think)),
        // They write no calls, or in a way that is not read: Functionary 3.2 names a recipient behind `>>>`.
        "google-gemma-2-2b-it" | "meetkai-functionary-medium-v3.2" | "microsoft-Phi-3.5-mini-instruct" => (None, None),
        _ => return None,
    })
}

/// The references beside the project, where they are present.
fn references() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("WEIGHBRIDGE_SHARED").map_or(beside, PathBuf::from);
    let folder = shared.join("goldens/chat-templates");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no references in {}", folder.display());
    None
}

#[test]
fn templates_of_real_models_tell_their_formats() {
    let Some(folder) = references() else { return };
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|extension| extension != "jinja") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).expect("it is text");
        let template = ChatTemplate::new(&source, &[]).expect("it is a template");
        let formats = (template.tool_format(), template.reasoning_format());
        if Some(formats) != expected(&name) {
            wrong.push(format!("{name}: {formats:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_template_of_others_tells_its_format() {
    for (source, tools, reasoning) in [
        ("{{ '<minimax:tool_call>' }}<think>", Some(ToolFormat::MiniMax), Some(ReasoningFormat::Think)),
        ("<seed:tool_call><function=f><parameter=p><seed:think>", Some(ToolFormat::Seed), Some(ReasoningFormat::Seed)),
        ("<|tool_call_start|>[", Some(ToolFormat::Lfm), None),
        ("<function_calls>", Some(ToolFormat::Olmo), None),
        ("[func_name1(params_name1=params_value1, params_name2=params_value2)]", Some(ToolFormat::Pythonic), None),
        ("<tool_call> without arguments", None, None),
        ("{{ messages }}", None, None),
    ] {
        let template = ChatTemplate::new(source, &[]).expect("it is a template");
        assert_eq!((template.tool_format(), template.reasoning_format()), (tools, reasoning), "{source}");
    }
}

#[test]
fn formats_have_names() {
    for format in ToolFormat::ALL {
        assert_eq!(format.as_str().parse(), Ok(*format));
    }
    for format in ReasoningFormat::ALL {
        assert_eq!(format.as_str().parse(), Ok(*format));
    }
    let unknown = "hermse".parse::<ToolFormat>().map_err(|error| error.to_string());
    assert!(unknown.is_err_and(|error| error.starts_with("expected one of hermes, ")));
}
