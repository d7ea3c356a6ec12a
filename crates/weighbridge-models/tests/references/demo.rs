//! The bundled demo model in its three forms against its own reference.

use serde::Deserialize;
use weighbridge_models::{Checkpoint, Compute, Tokenizer, evaluate};

use crate::support::{Expected, Outcome, check, error, json, load, repository};

/// The folder as a program carries it.
static CARRIED: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../../../models/demo/config.json")),
    ("generation_config.json", include_bytes!("../../../../models/demo/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../../models/demo/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../../models/demo/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../../models/demo/tokenizer_config.json")),
];

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) prompt: String,
    pub(crate) tokens: Vec<u32>,
    logits_last: Vec<f32>,
    argmax: Vec<u32>,
    logsumexp: Vec<f32>,
    greedy: Vec<u32>,
    answer: String,
}

pub(crate) fn cases() -> Outcome<Vec<Case>> {
    json(&repository("models/demo/golden.json"))
}

fn check_checkpoint(checkpoint: &Checkpoint) -> Outcome {
    let decoder = load(checkpoint, Compute::Float32)?;
    let tokenizer = checkpoint.tokenizer()?;
    for case in cases()? {
        check_case(&case, checkpoint, &decoder, &tokenizer)?;
    }
    Ok(())
}

fn check_case(
    case: &Case,
    checkpoint: &Checkpoint,
    decoder: &weighbridge_models::Decoder,
    tokenizer: &Tokenizer,
) -> Outcome {
    assert_eq!(tokenizer.encode(&case.prompt)?, case.tokens);
    let stop = checkpoint.stop_tokens();
    let whole = evaluate(decoder, &case.tokens, None, case.greedy.len() + 1, stop)?;
    let expected = Expected {
        logits_last: &case.logits_last,
        argmax: &case.argmax,
        logsumexp: &case.logsumexp,
        greedy: &case.greedy,
        tolerance: 1e-3,
    };
    check(&case.answer, &whole, &expected);
    assert_eq!(tokenizer.decode(&whole.greedy), case.answer);

    let chunked = evaluate(decoder, &case.tokens, Some(7), 0, stop)?;
    assert!(error(&chunked.logits_last, &whole.logits_last) <= 1e-4);
    assert!(error(&chunked.logsumexp, &whole.logsumexp) <= 1e-4);
    Ok(())
}

#[test]
fn the_folder_answers_as_its_reference() -> Outcome {
    check_checkpoint(&Checkpoint::open(&repository("models/demo"))?)
}

#[test]
fn carried_in_memory_it_answers_as_its_reference() -> Outcome {
    check_checkpoint(&Checkpoint::from_memory("demo", &CARRIED)?)
}

#[test]
fn as_gguf_it_answers_as_its_reference() -> Outcome {
    check_checkpoint(&Checkpoint::open(&repository("models/demo/demo.gguf"))?)
}

#[test]
fn folder_and_gguf_say_the_same_of_themselves() -> Outcome {
    let folder = Checkpoint::open(&repository("models/demo"))?;
    let file = Checkpoint::open(&repository("models/demo/demo.gguf"))?;
    let (one, other) = (folder.summary(), file.summary());
    assert_eq!(
        (one.parameters, one.quantisation.as_str(), one.context, one.vocabulary),
        (3_609_088, "BF16", 1024, 1801)
    );
    assert_eq!((one.architecture.as_str(), one.layers, one.hidden), ("llama", 4, 256));
    assert_eq!((other.parameters, other.quantisation, other.context), (one.parameters, one.quantisation, one.context));
    assert_eq!((one.name.as_str(), other.name.as_str()), ("demo", "demo"));
    assert_eq!(folder.stop_tokens(), file.stop_tokens());
    assert_eq!(folder.stop_tokens(), [2]);
    let template = folder.chat_template().ok_or("the folder has no chat template")?;
    assert_eq!(Some(template.template), file.chat_template().map(|it| it.template));
    Ok(())
}

#[test]
fn folder_and_gguf_cut_texts_alike() -> Outcome {
    let folder = Checkpoint::open(&repository("models/demo"))?.tokenizer()?;
    let file = Checkpoint::open(&repository("models/demo/demo.gguf"))?.tokenizer()?;
    let mut texts: Vec<String> = cases()?.into_iter().flat_map(|case| [case.prompt, case.answer]).collect();
    texts.extend(
        ["", " ", "\n\n", "naïve 東京 🦊", "1234567", "<|im_start|>x<|im_end|>", "it's we'll"].map(String::from),
    );
    for text in texts {
        let tokens = folder.encode(&text)?;
        assert_eq!(file.encode(&text)?, tokens, "{text:?}");
        assert_eq!(folder.encode_around(&text, &[])?, tokens, "{text:?}");
        assert_eq!(file.decode(&tokens), folder.decode(&tokens));
        let mut stream = folder.stream();
        let mut streamed: String = tokens.iter().filter_map(|&token| stream.push(token)).collect();
        streamed.extend(stream.finish());
        assert_eq!(streamed, folder.decode(&tokens));
    }
    assert_eq!(folder.size(), 1801);
    Ok(())
}

#[test]
fn a_stated_token_is_special_and_decodes_to_nothing() -> Outcome {
    let tokenizer = Checkpoint::open(&repository("models/demo"))?.tokenizer()?;
    let end = tokenizer.token_id("<|im_end|>").ok_or("no end of turn")?;
    assert_eq!((end, tokenizer.is_special(end), tokenizer.is_special(40)), (2, true, false));
    assert_eq!(tokenizer.decode(&[end]), "");
    assert_eq!(tokenizer.token(end).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    Ok(())
}
