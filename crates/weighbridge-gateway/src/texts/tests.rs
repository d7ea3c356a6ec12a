//! Questions to a scripted model, whose tokens are bytes.

use super::*;
use crate::chat::Chat;
use crate::echo::{post, stage, text};

async fn ask(tell: Tell, body: &Value) -> (u16, Value) {
    let stage = stage();
    let response = answer(Arc::clone(&stage.core), &Chat, post("/", body), tell).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert!(headers.contains_key("x-request-id") && stage.outcomes().is_empty());
    if status == 200 {
        assert_eq!(
            (&headers["x-weighbridge-backend"], &headers["x-weighbridge-class"]),
            (&"echo".parse().expect("a value"), &"internal".parse().expect("a value"))
        );
    }
    (status, serde_json::from_str(&text(response).await).expect("it is JSON"))
}

#[tokio::test]
async fn a_text_becomes_tokens_and_back() {
    let asked = json!({"model": "echo", "prompt": "hi", "return_token_strs": true});
    let expected = json!({
        "count": 3, "max_model_len": 4096, "tokens": [1000, 104, 105], "token_strs": ["<s>", "h", "i"],
    });
    assert_eq!(ask(tokenize, &asked).await, (200, expected));
    let bare = json!({"model": "echo", "prompt": "", "add_special_tokens": false});
    let nothing = json!({"count": 0, "max_model_len": 4096, "tokens": [], "token_strs": null});
    assert_eq!(ask(tokenize, &bare).await, (200, nothing));
    let back = json!({"model": "echo", "tokens": [104, 105]});
    assert_eq!(ask(detokenize, &back).await, (200, json!({"prompt": "hi"})));
    let (status, error) = ask(detokenize, &json!({"model": "echo", "tokens": [5000]})).await;
    assert_eq!((status, &error["error"]["message"]), (400, &json!("5000 is no token")));
}

#[tokio::test]
async fn a_conversation_is_written_by_the_template() {
    let asked = json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(ask(apply_template, &asked).await, (200, json!({"prompt": "user: hi\n"})));
    let (status, told) = ask(tokenize, &asked).await;
    assert_eq!((status, &told["count"]), (200, &json!("user: hi\n".len())));
}
