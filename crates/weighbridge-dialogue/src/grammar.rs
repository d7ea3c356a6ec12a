//! Grammars: what the text of an answer must be, held at every token.
//!
//! A [`Constraint`](weighbridge_backend::Constraint), or the tools that must be called, becomes a grammar of llguidance
//! (Earley parsing over derivatives of regular expressions, walked along the trie of the vocabulary), and that a
//! [`Matcher`] for one answer: before each draw it gives the tokens that may come next, after it it takes the one that
//! did. What cannot be enforced is refused when the grammar is made ([`GrammarError`]), never left out. Everything is
//! bounded: the size of a schema, the work of compiling it, the work of one mask.
//!
//! Nothing here knows weights or tokenizers: a vocabulary comes as the bytes of its tokens ([`Grammars::new`]).

mod arguments;
mod calls;
mod channels;
mod form;
mod formats;
mod lark;
mod literals;
mod matcher;
mod object;
mod options;
mod parts;
mod schema;
mod strings;
mod tags;
mod vocabulary;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{GrammarBuilder, JsonCompileOptions, ParserFactory, TokenParser};
use serde_json::Value;
use toktrie::InferenceCapabilities;

pub use self::form::{Calls, Form, Thinking};
pub use self::matcher::{Mask, Matcher};
use self::parts::Markers;
pub use self::vocabulary::VocabularyToken;

/// Bytes of the largest schema, expression or list of choices taken, and of the largest Lark grammar.
const MAX_BYTES: usize = 256 << 10;

/// The stack on which a grammar is compiled. Only what is used of it is taken.
///
/// The deepest grammars of [`MAX_BYTES`] are chains of some 14,000 rules, of which a test has it compile one.
const STACK_BYTES: usize = 256 << 20;

/// Why an answer cannot be held to what was asked for. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError(String);

impl GrammarError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GrammarError {}

/// Makes the matchers of one model. It holds the trie of its vocabulary, which takes a second to build for a large one,
/// and so is made once; shared between threads.
pub struct Grammars {
    factory: ParserFactory,
    markers: Markers,
}

impl Grammars {
    /// For a vocabulary, by token id, of which `ends` end an answer.
    ///
    /// # Errors
    /// Where the vocabulary has no token, or `ends` none of it.
    pub fn new(tokens: Vec<VocabularyToken>, ends: &[u32]) -> Result<Self, GrammarError> {
        let markers = Markers { named: vocabulary::markers(&tokens), ends: ends.to_vec() };
        let environment = vocabulary::environment(tokens, ends)?;
        // What JSON strings hold is most of what masks allow: their tokens are found once and not for each mask.
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| GrammarError::new(first_line(&error.to_string())))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, markers })
    }

    /// A matcher of answers of this form, at their beginning.
    ///
    /// # Errors
    /// Where the form cannot be enforced: the message names the keyword or the place.
    pub fn matcher(&self, form: &Form<'_>) -> Result<Matcher, GrammarError> {
        let grammar = form.grammar(&self.markers)?;
        let mut matcher = Matcher::new(self.parser(grammar)?)?;
        // What is too much work already where the answer begins is told before anything runs.
        matcher.mask().map_err(|error| GrammarError::new(told(&error.to_string())))?;
        Ok(matcher)
    }

    /// Compiles a grammar, on a stack of its own: rules are followed as deep as they lead into each other.
    fn parser(&self, grammar: TopLevelGrammar) -> Result<TokenParser, GrammarError> {
        let compile =
            || self.factory.create_parser(grammar).map_err(|error| GrammarError::new(told(&error.to_string())));
        let failed = || GrammarError::new("there is no thread to make the grammar on; try again");
        std::thread::scope(|scope| {
            let compiling = std::thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES);
            let compiling = compiling.spawn_scoped(scope, compile).map_err(|_| failed())?;
            compiling.join().map_err(|_| failed())?
        })
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

/// Whether llguidance can enforce a schema that is made ready for it.
fn compiles(schema: &Value) -> Result<(), GrammarError> {
    let builder = GrammarBuilder::new(None, limits());
    let compiled = catch_unwind(AssertUnwindSafe(|| {
        JsonCompileOptions::default().json_to_llg_with_overrides(builder, schema.clone()).map(drop)
    }));
    match compiled {
        Ok(compiled) => compiled.map_err(|error| GrammarError::new(told(&error.to_string()))),
        Err(_) => Err(GrammarError::new("the schema holds what the library that enforces it fails at")),
    }
}

/// The work that one grammar may take: 20 ms to make it, 15 ms for a mask (as llguidance puts it), 100 MB at the very
/// most for the states of its lexer. Errors tell no state, for that holds what the model wrote.
fn limits() -> ParserLimits {
    ParserLimits { max_lexer_states: 50_000, verbose_errors: false, ..ParserLimits::default() }
}

/// What llguidance says, as a sentence of ours.
fn told(message: &str) -> String {
    format!("the answer cannot be held to it: {}", first_line(message))
}

/// The first line of a message, and of one about an expression the line that says what is wrong with it, at a length
/// that is fit to be read.
fn first_line(message: &str) -> String {
    const MOST: usize = 300;
    let mut lines = message.lines();
    let mut line = lines.next().unwrap_or_default().to_owned();
    line.extend(lines.find_map(|line| line.strip_prefix("error:")));
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
