//! The way between text and tokens, for whoever asks for it without an answer.

use weighbridge_backend::{Failure, Request, Texts};

use super::{Prompter, not_encoded};

impl Prompter {
    /// How a prompt ends, markers written out: enough of it to tell whether thoughts have begun.
    pub(crate) fn tail(&self, prompt: &[u32]) -> String {
        const TOKENS: usize = 16;
        self.text_of(&prompt[prompt.len().saturating_sub(TOKENS)..])
    }

    /// The text of tokens, markers written out.
    pub(super) fn text_of(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            match self.tokenizer.token_bytes(token) {
                Some(text) => bytes.extend(text),
                None => bytes.extend(self.tokenizer.token(token).unwrap_or_default().into_bytes()),
            }
        }
        let begins_with_text = tokens.first().is_some_and(|&first| self.tokenizer.token_bytes(first).is_some());
        if begins_with_text && self.tokenizer.begins_with_extra_space() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Texts for Prompter {
    fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Failure> {
        self.check_length(text.len(), "prompt")?;
        let tokens = if add_special { self.tokenizer.encode_with_bos(text) } else { self.tokenizer.encode(text) };
        tokens.map_err(not_encoded)
    }

    fn prompt_tokens(&self, request: &Request) -> Result<Vec<u32>, Failure> {
        self.prompt(request)
    }

    fn detokenize(&self, tokens: &[u32]) -> Result<String, Failure> {
        self.check_tokens(tokens)?;
        Ok(self.text_of(tokens))
    }

    fn token_strings(&self, tokens: &[u32]) -> Result<Vec<String>, Failure> {
        self.check_tokens(tokens)?;
        let string = |&token: &u32| match self.tokenizer.token_bytes(token) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => self.tokenizer.token(token).unwrap_or_default(),
        };
        Ok(tokens.iter().map(string).collect())
    }

    fn render(&self, request: &Request) -> Result<String, Failure> {
        match &request.completion {
            Some(completion) => Ok(self.echo(completion)),
            None => self.rendered(request).map(|prompt| prompt.text),
        }
    }
}
