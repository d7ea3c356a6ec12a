//! The demo model quantised, and read back.

use std::fs;

use weighbridge_models::{Checkpoint, Compute, QuantizedType, evaluate, quantize};

use crate::demo::cases;
use crate::support::{Outcome, error, load, repository};

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
    for case in cases()?.into_iter().take(2) {
        assert_eq!(tokenizer.encode(&case.prompt)?, case.tokens);
        let exact = evaluate(&original, &case.tokens, None, 0, &[])?;
        let found = evaluate(&decoder, &case.tokens, None, 0, &[])?;
        let worst = error(&found.logits_last, &exact.logits_last);
        assert!(worst <= tolerance, "{target}: the last logits are off by {worst}");
    }
    Ok(())
}

#[test]
fn quantised_the_demo_model_stays_near_its_own_logits() -> Outcome {
    check(QuantizedType::Bf16, 0.0)?;
    check(QuantizedType::F16, 0.01)?;
    check(QuantizedType::Q8_0, 0.5)?;
    check(QuantizedType::Q6K, 1.5)?;
    check(QuantizedType::Q4KM, 6.0)?;
    check(QuantizedType::Q4_0, 8.0)
}
