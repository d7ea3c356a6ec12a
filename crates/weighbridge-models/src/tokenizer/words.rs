//! A text cut into words, one step after the other.

use std::ops::Range;

use fancy_regex::{Regex, RegexBuilder};

use super::TokenizerError;
use super::cuts::{Cut, Digits, Step, Writing};

/// Steps that one expression may take back: more than any text has characters, since every expression here leaves a
/// place behind after a few tries. The library's own default, a million, is one long run of spaces.
const BACKTRACK_LIMIT: usize = 1 << 32;

/// How the texts of one vocabulary are cut, ready to be used.
pub(super) struct Words {
    steps: Vec<Cutter>,
    writing: Writing,
}

enum Cutter {
    Expression(Box<Regex>),
    /// The runs, and whether they stand apart. As one expression this looks ahead to the end of the run at each of its
    /// places, which takes the square of its length.
    Thousands {
        runs: Box<Regex>,
        alone: bool,
    },
}

impl Words {
    pub(super) fn of(cut: &Cut) -> Result<Self, TokenizerError> {
        let steps = cut.steps.iter().map(Cutter::of).collect::<Result<_, _>>()?;
        Ok(Self { steps, writing: cut.writing })
    }

    /// The words of a text, as the vocabulary writes them.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where an expression gives up, which none of ours does.
    pub(super) fn cut(&self, text: &str) -> Result<Vec<String>, TokenizerError> {
        let spaced = (self.writing == Writing::Spaces).then(|| text.replace(' ', "▁"));
        let text = spaced.as_deref().unwrap_or(text);
        let mut words = Vec::from_iter(Some(0..text.len()));
        for step in &self.steps {
            let mut finer = Vec::with_capacity(words.len());
            for word in words {
                step.cut(&text[word.clone()], word.start, &mut finer)?;
            }
            words = finer;
        }
        let words = words.into_iter().filter(|word| !word.is_empty()).map(|word| &text[word]);
        Ok(match self.writing {
            Writing::ByteLevel => words.map(|word| word.bytes().map(character_of).collect()).collect(),
            Writing::Spaces => words.map(str::to_owned).collect(),
        })
    }
}

impl Cutter {
    fn of(step: &Step) -> Result<Self, TokenizerError> {
        let build = |expression| {
            let regex = RegexBuilder::new(expression).backtrack_limit(BACKTRACK_LIMIT).build();
            regex.map(Box::new).map_err(|reason| TokenizerError::Build(reason.to_string()))
        };
        Ok(match *step {
            Step::Words(expression) => Self::Expression(build(expression)?),
            Step::Thousands(Digits::Numbers) => Self::Thousands { runs: build(r"\p{N}+")?, alone: true },
            Step::Thousands(Digits::Decimal) => Self::Thousands { runs: build(r"\d+\b")?, alone: true },
            Step::Thousands(Digits::DecimalInside) => Self::Thousands { runs: build(r"\d+")?, alone: false },
        })
    }

    /// Adds the words of a piece of text that begins at `start`.
    fn cut(&self, piece: &str, start: usize, words: &mut Vec<Range<usize>>) -> Result<(), TokenizerError> {
        let mut done = 0;
        let mut add = |end: usize| {
            if end > done {
                words.push(start + done..start + end);
                done = end;
            }
        };
        match self {
            Self::Expression(regex) => {
                for found in regex.find_iter(piece) {
                    let found = found.map_err(|_| TokenizerError::Encode)?;
                    add(found.start());
                    add(found.end());
                }
            }
            Self::Thousands { runs, alone } => {
                for found in runs.find_iter(piece) {
                    let found = found.map_err(|_| TokenizerError::Encode)?;
                    thousands(found.as_str(), found.start(), *alone).into_iter().for_each(&mut add);
                }
            }
        }
        add(piece.len());
        Ok(())
    }
}

/// Where a run of digits from `start` on is cut, in order.
fn thousands(run: &str, start: usize, alone: bool) -> Vec<usize> {
    let places: Vec<_> = run.char_indices().map(|(at, _)| start + at).collect();
    let first = places.len() % 3;
    let mut cuts = Vec::with_capacity(places.len() / 3 + 2);
    cuts.extend((alone && first != 0).then_some(start));
    cuts.extend(places.iter().skip(first).step_by(3));
    cuts.extend(alone.then_some(start + run.len()));
    cuts
}

/// The character that GPT-2 writes for a byte: printable ones of Latin-1 as themselves, the other 68 as the characters
/// from 256 on, in order (`bytes_to_unicode` in its `encoder.py`).
fn character_of(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte) - 0x7f,
        0xad => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::cuts;
    use super::super::pieces::Pieces;
    use super::*;

    #[test]
    fn every_kind_of_cut_can_be_built() {
        for cut in cuts::all() {
            assert!(Words::of(cut).is_ok());
        }
    }

    #[test]
    fn digits_are_cut_in_threes_from_their_end() {
        let check = |digits, text: &str, expected: &[&str]| {
            let mut words = Vec::new();
            let cut = Cutter::of(&Step::Thousands(digits)).and_then(|cutter| cutter.cut(text, 0, &mut words));
            assert!(cut.is_ok());
            assert_eq!(words.into_iter().map(|word| &text[word]).collect::<Vec<_>>(), expected, "{text}");
        };
        check(Digits::Numbers, "a1234567b12", &["a", "1", "234", "567", "b", "12"]);
        check(Digits::Numbers, "٣٣٣٣½", &["٣٣", "٣٣½"]);
        check(Digits::Decimal, "a1234b 1234 ", &["a1234b ", "1", "234", " "]);
        check(Digits::Decimal, "123456", &["123", "456"]);
        check(Digits::DecimalInside, "½1234", &["½1", "234"]);
        check(Digits::DecimalInside, "none", &["none"]);
    }

    /// Texts full of trouble, and how they are cut (`tests/fixtures/words/README.md`).
    #[derive(Deserialize)]
    struct Fixture {
        texts: Vec<String>,
        kinds: Vec<Kind>,
    }

    #[derive(Deserialize)]
    struct Kind {
        names: Vec<String>,
        /// For each text the lengths of its words, in characters.
        words: Vec<Vec<usize>>,
    }

    #[test]
    fn each_kind_cuts_texts_as_its_reference() {
        let fixture = serde_json::from_str(include_str!("../../tests/fixtures/words/words.json"));
        let Fixture { texts, kinds } = fixture.expect("the fixture is what the test takes");
        for kind in &kinds {
            for name in &kind.names {
                let words = cuts::find(name).and_then(Words::of).expect("each kind is known");
                for (text, expected) in texts.iter().zip(&kind.words) {
                    let found = words.cut(text).expect("no expression gives up");
                    assert_eq!(lengths(&words, &found), *expected, "{name}: {text:?}");
                }
            }
        }
    }

    /// The characters of words, which the vocabulary may write otherwise.
    fn lengths(words: &Words, found: &[String]) -> Vec<usize> {
        let text = |word: &String| match words.writing {
            Writing::ByteLevel => String::from_utf8_lossy(&Pieces::ByteLevel.bytes(word)).chars().count(),
            Writing::Spaces => word.chars().count(),
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn a_long_run_is_cut_in_time_that_grows_with_it() {
        for (name, unit) in
            [("afmoe", "1"), ("superbpe", "7"), ("llama-bpe", " "), ("gpt-2", "\n"), ("exaone-moe", "a ")]
        {
            let text = format!("{}x", unit.repeat(300_000));
            let words = cuts::find(name).and_then(Words::of).and_then(|words| words.cut(&text));
            assert!(
                words.is_ok_and(|words| words.iter().map(|word| word.chars().count()).sum::<usize>() == text.len())
            );
        }
    }
}
