//! What folders of one model do differently, settled before its tensors are looked up: what stands before the names,
//! heads that are stored although they are the embedding, and experts in stacks.

use std::collections::HashMap;

use crate::parts::{ExpertPart, Kind, LayerPart, Names, Packing, Part};
use crate::spec::{DecoderSpec, FeedForwardSpec};
use crate::weights::Stored;

type Tensors = HashMap<String, Stored>;

/// What may stand before `layers.0`: nothing where a model was saved without its head; the others where it sees images,
/// as published and as transformers 5 writes them.
const PREFIXES: [&str; 5] = ["model.", "language_model.model.", "model.language_model.", "language_model.", ""];

/// The head of a model within one that sees images.
const INNER_HEAD: &str = "language_model.lm_head.";

/// Settles all of it.
pub(super) fn settle(spec: &mut DecoderSpec, names: &mut Names, tensors: &mut Tensors) {
    rename(names, tensors);
    settle_head(spec, names, tensors);
    if names.packing == Packing::Plain && names.of_expert(ExpertPart::Gate).contains('*') {
        settle_experts(spec, names, tensors);
    }
}

/// Gives the tensors the names that the family has for them.
fn rename(names: &Names, tensors: &mut Tensors) {
    let holds = |prefix: &str| {
        let first = format!("{prefix}layers.0.");
        tensors.keys().any(|name| name.starts_with(&first))
    };
    let Some(own) = names.layer.strip_suffix("layers").filter(|own| !holds(own)) else { return };
    let Some(found) = PREFIXES.into_iter().find(|prefix| holds(prefix)) else { return };
    *tensors = std::mem::take(tensors)
        .into_iter()
        .map(|(name, stored)| {
            let name = match (name.strip_prefix(INNER_HEAD), name.strip_prefix(found)) {
                (Some(rest), _) => format!("{}.{rest}", names.head),
                (None, Some(rest)) if is_of_decoder(rest) => format!("{own}{rest}"),
                _ => name,
            };
            (name, stored)
        })
        .collect();
}

/// Whether this is what a decoder has, and no tower or projector beside it.
fn is_of_decoder(name: &str) -> bool {
    ["layers.", "embed_tokens.", "norm.", "final_layernorm."].into_iter().any(|start| name.starts_with(start))
}

/// A head that is said to be the embedding is one of its own where it is stored with other numbers, and serves as the
/// embedding where that is absent: `tie_weights` of transformers' `modeling_utils.py`.
fn settle_head(spec: &mut DecoderSpec, names: &Names, tensors: &mut Tensors) {
    let (embedding, head) = (names.of(Part::Embedding), names.of(Part::Head(Kind::Weight)));
    let Some(stored) = tensors.get(&head).filter(|_| spec.tied_head) else { return };
    match tensors.get(&embedding) {
        Some(other) => spec.tied_head = other.element == stored.element && other.data() == stored.data(),
        None => {
            let stored = stored.clone();
            tensors.insert(embedding, stored);
        }
    }
}

/// Takes experts from stacks of them, as transformers 5 holds them and writes them on request.
fn settle_experts(spec: &DecoderSpec, names: &mut Names, tensors: &Tensors) {
    const ROUTERS: [&str; 2] = ["mlp.gate", "mlp.router"];
    let is_sparse = |layer: &crate::spec::LayerSpec| matches!(layer.feed_forward, FeedForwardSpec::Experts(_));
    let Some(layer) = spec.layers.iter().position(is_sparse) else { return };
    let stacked = Names {
        expert_gate: "mlp.experts.gate_up_proj",
        expert_down: "mlp.experts.down_proj",
        packing: Packing::Stacked,
        ..*names
    };
    if !tensors.contains_key(&stacked.of(Part::Expert(layer, 0, ExpertPart::GateUp, Kind::Weight))) {
        return;
    }
    *names = stacked;
    let router = |names: &Names| names.of(Part::Layer(layer, LayerPart::Router, Kind::Weight));
    let stored = ROUTERS.into_iter().find(|router_name| {
        let renamed = Names { router: router_name, ..*names };
        tensors.contains_key(&router(&renamed))
    });
    if let Some(stored) = stored {
        names.router = stored;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::bytes::Bytes;
    use crate::element::ElementType;
    use crate::families::{self, Described, SpecError};

    /// Tensors of two numbers each.
    fn stored(tensors: &[(&str, [f32; 2])]) -> Tensors {
        let tensor = |&(name, numbers): &(&str, [f32; 2])| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let bytes = Bytes::Owned(Arc::new(bytes));
            (name.to_owned(), Stored { bytes, range: 0..8, element: ElementType::F32, shape: vec![2], scale: None })
        };
        tensors.iter().map(tensor).collect()
    }

    fn check_names(found: [&str; 3], expected: [&str; 3]) -> Result<(), SpecError> {
        let Described { mut spec, mut names } = families::from_config(&json!({"model_type": "llama"}))?;
        let mut tensors = stored(&found.map(|name| (name, [0.0, 1.0])));
        settle(&mut spec, &mut names, &mut tensors);
        for name in expected {
            assert!(tensors.contains_key(name), "there is no {name} among {:?}", tensors.keys());
        }
        Ok(())
    }

    #[test]
    fn names_are_the_same_whatever_stands_before_them() -> Result<(), SpecError> {
        const OWN: [&str; 3] = ["model.layers.0.a", "model.embed_tokens.weight", "lm_head.weight"];
        check_names(OWN, OWN)?;
        check_names(["layers.0.a", "embed_tokens.weight", "lm_head.weight"], OWN)?;
        check_names(
            [
                "language_model.model.layers.0.a",
                "language_model.model.embed_tokens.weight",
                "language_model.lm_head.weight",
            ],
            OWN,
        )?;
        check_names(
            ["model.language_model.layers.0.a", "model.language_model.embed_tokens.weight", "lm_head.weight"],
            OWN,
        )
    }

    #[test]
    fn a_tower_keeps_its_names() -> Result<(), SpecError> {
        let tower = "vision_tower.layers.0.a";
        check_names(["layers.0.a", tower, "norm.weight"], ["model.layers.0.a", tower, "model.norm.weight"])
    }

    #[test]
    fn a_head_is_the_embedding_only_where_it_holds_the_same_numbers() -> Result<(), SpecError> {
        const EMBEDDING: (&str, [f32; 2]) = ("model.embed_tokens.weight", [1.0, 2.0]);
        let check = |tensors: &[(&str, [f32; 2])], expected: bool| {
            let config = json!({"model_type": "llama", "tie_word_embeddings": true});
            let Described { mut spec, mut names } = families::from_config(&config)?;
            let mut tensors = stored(tensors);
            settle(&mut spec, &mut names, &mut tensors);
            assert_eq!((spec.tied_head, tensors.contains_key(EMBEDDING.0)), (expected, true));
            Ok::<_, SpecError>(())
        };
        check(&[EMBEDDING], true)?;
        check(&[EMBEDDING, ("lm_head.weight", [1.0, 2.0])], true)?;
        check(&[EMBEDDING, ("lm_head.weight", [1.0, 3.0])], false)?;
        check(&[("lm_head.weight", [1.0, 3.0])], true)
    }
}
