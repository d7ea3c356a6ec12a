//! The demo model quantised, and read back.

use std::fs;

use weighbridge_models::{Checkpoint, Compute, QuantizedType, evaluate, quantize};

use crate::demo::cases;
use crate::support::{Outcome, error, load, repository};

/// How far a quantised answer follows the exact one, on every question of the model's golden.
const SAME_TOKENS: usize = 8;

/// The tolerances are half as much again as the worst error that was measured over all ten questions: 0, 0, 0.16,
/// 0.52, 1.25 and 1.51, among logits from −5 to 25.
fn check(target: QuantizedType, tolerance: f32) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (input, output) = (repository("models/demo/demo.gguf"), folder.path().join("small.gguf"));
    let written = quantize(&input, &output, target, &mut |_| {})?;
    assert_eq!(written.file_bytes, fs::metadata(&output)?.len());
    assert!(quantize(&input, &output, target, &mut |_| {}).is_err(), "{target}: it wrote over a file");

    let (original, small) = (Checkpoint::open(&input)?, Checkpoint::open(&output)?);
    assert_eq!(small.summary().parameters, original.summary().parameters);
    assert_eq!(small.stop_tokens(), original.stop_tokens());
    assert_eq!(small.chat_template(), original.chat_template());
    let (original, tokenizer) = (load(&original, Compute::Float32)?, small.tokenizer()?);
    let decoder = load(&small, Compute::Float32)?;
    for case in cases()? {
        assert_eq!(tokenizer.encode(&case.prompt)?, case.tokens);
        let exact = evaluate(&original, &case.tokens, None, SAME_TOKENS, &[])?;
        let found = evaluate(&decoder, &case.tokens, None, SAME_TOKENS, &[])?;
        let worst = error(&found.logits_last, &exact.logits_last);
        assert!(worst <= tolerance, "{target}: the last logits are off by {worst}");
        assert_eq!(found.greedy, exact.greedy, "{target}: {}", case.prompt);
    }
    Ok(())
}

#[test]
fn quantised_the_demo_model_stays_near_its_own_logits() -> Outcome {
    check(QuantizedType::Bf16, 0.0)?;
    check(QuantizedType::F16, 0.001)?;
    check(QuantizedType::Q8_0, 0.24)?;
    check(QuantizedType::Q6K, 0.8)?;
    check(QuantizedType::Q4KM, 1.9)?;
    check(QuantizedType::Q4_0, 2.3)
}
