//! What configs of adapters ask for.

use serde_json::json;

use super::*;

fn config(own: &Json) -> Result<Config, AdapterError> {
    let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "init_lora_weights": true});
    if let (Json::Object(config), Json::Object(own)) = (&mut config, own.clone()) {
        config.extend(own);
    }
    Config::read(&config)
}

fn check(own: &Json, module: &str, rank: usize, scale: f64) -> Result<(), AdapterError> {
    let config = config(own)?;
    assert_eq!((config.rank(module), config.scale(module, rank)), (rank, scale), "{module} with {own}");
    Ok(())
}

fn check_refused(own: &Json, expected: &str) {
    let error = config(own).err().map_or_else(String::new, |error| error.to_string());
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn rank_and_scale_of_a_module_follow_the_first_pattern_that_matches_its_end() -> Result<(), AdapterError> {
    const MODULE: &str = "model.layers.11.self_attn.q_proj";
    check(&json!({}), MODULE, 4, 2.0)?;
    check(&json!({"use_rslora": true}), MODULE, 4, 4.0)?;
    check(&json!({"rank_pattern": {"q_proj": 16}}), MODULE, 16, 0.5)?;
    check(&json!({"rank_pattern": {"v_proj": 16}}), MODULE, 4, 2.0)?;
    check(&json!({"rank_pattern": {"proj": 16}}), MODULE, 4, 2.0)?;
    check(&json!({"rank_pattern": {r"model\.layers\.\d+\.self_attn\.(q|k)_proj": 2}}), MODULE, 2, 4.0)?;
    check(&json!({"rank_pattern": {"k_proj|q_proj": 8, "q_proj": 2}}), MODULE, 8, 1.0)?;
    check(&json!({"alpha_pattern": {"layers.11.self_attn.q_proj": 32}}), MODULE, 4, 8.0)?;
    check(&json!({"alpha_pattern": {"layers.1.self_attn.q_proj": 32}}), MODULE, 4, 2.0)
}

#[test]
fn what_would_be_missing_from_the_numbers_is_refused_by_name() {
    check_refused(&json!({"peft_type": "LOHA"}), "`peft_type` in adapter_config.json is \"LOHA\"; supported: LORA");
    check_refused(&json!({"use_dora": true}), "`use_dora` in adapter_config.json is true");
    check_refused(&json!({"bias": "all"}), "`bias` in adapter_config.json is \"all\"; supported: none");
    check_refused(&json!({"fan_in_fan_out": true}), "`fan_in_fan_out`");
    check_refused(&json!({"modules_to_save": ["lm_head"]}), "`modules_to_save`");
    check_refused(&json!({"target_parameters": ["mlp.experts.down_proj"]}), "`target_parameters`");
    check_refused(&json!({"init_lora_weights": "pissa"}), "`init_lora_weights`");
    check_refused(&json!({"something_new": 1}), "`something_new` in adapter_config.json is 1, which is not supported");
    check_refused(&json!({"r": 0}), "`r` in adapter_config.json has 0");
    check_refused(&json!({"rank_pattern": {"(": 2}}), "`rank_pattern` in adapter_config.json has the pattern `(`");
    check_refused(&json!({"rank_pattern": {"q": 0}}), "`rank_pattern` in adapter_config.json has 0");
    check_refused(&json!({"target_modules": 1}), "`target_modules`");
}

#[test]
fn each_listed_target_must_have_an_update() -> Result<(), AdapterError> {
    let has = |targets: Json| {
        let config = config(&json!({"target_modules": targets}))?;
        config.check_targets(["model.layers.0.self_attn.q_proj", "lm_head"].into_iter())
    };
    has(json!(["q_proj", "lm_head"]))?;
    has(json!(["self_attn.q_proj"]))?;
    has(json!(r".*\.q_proj"))?;
    let error = has(json!(["q_proj", "proj"])).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("has `proj`, and the adapter has no update"), "{error}");
    Ok(())
}
