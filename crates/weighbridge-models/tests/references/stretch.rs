//! Newer families than those of `core`, each computed as by transformers.

use weighbridge_models::{Checkpoint, Compute, Rows};

use crate::core::{check_family, families};
use crate::support::{Outcome, load, shared};

families! { "goldens/stretch":
    glm4_moe_with_groups_of_experts: "glm4_moe",
    minimax_m2_with_whole_norms_and_a_choice_bias: "minimax_m2",
    mistral4_with_latent_attention_and_queries_that_grow: "mistral4",
    cohere2_moe_with_an_average_of_chosen_and_shared_experts: "cohere2_moe",
    qwen3_next_with_delta_nets_and_gated_attention: "qwen3_next",
    qwen3_5_with_delta_nets_in_separate_projections: "qwen3_5_text",
    kimi_linear_with_delta_nets_that_forget_by_channel: "kimi_linear",
    gemma4_with_shared_keys_and_rows_for_each_layer: "gemma4_text",
    gemma4_with_experts_beside_and_keys_for_values: "gemma4_moe_text",
    gemma3n_with_streams_and_sparse_gates: "gemma3n_text",
    deepseek_v32_with_an_indexer: "deepseek_v32",
    mistral_large4_with_shared_choices_and_latent_rows: "mistral_large4",
    deepseek_v4_with_summaries_and_several_streams: "deepseek_v4",
}

/// What does not lie at a token's place in the cache must go with the tokens: states, and runs that have not ended.
#[test]
fn a_cleared_cache_has_forgotten_states_and_unfinished_runs() -> Outcome {
    for family in ["qwen3_next", "kimi_linear", "deepseek_v4"] {
        let Some(folder) = shared(&format!("goldens/stretch/{family}")) else { return Ok(()) };
        let decoder = load(&Checkpoint::open(&folder)?, Compute::Float32)?;
        let tokens = [5, 9, 200, 17, 3, 42, 8];
        let mut cache = decoder.new_cache();
        let fresh = decoder.forward(&tokens, &mut cache, Rows::All)?;
        cache.clear();
        let again = decoder.forward(&tokens, &mut cache, Rows::All)?;
        assert_eq!(fresh.last(), again.last(), "{family}");
    }
    Ok(())
}
