//! Texts at which an answer ends.
//!
//! Each stop text is followed byte by byte (Knuth, Morris and Pratt), so that a match across the borders of
//! tokens or chunks is found where it ends, whatever the borders. What may still become a stop text is held
//! back. A stop text starts with a whole character, and a byte that starts one starts nothing else, so that
//! no cut ever falls within a character.

use std::sync::Arc;

/// Watches the text of one answer for its stop texts.
#[derive(Debug)]
pub(crate) struct StopTexts {
    needles: Vec<Needle>,
    /// Text not let go yet: the start of what may become a stop text.
    held: String,
}

/// What came of a piece of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Release {
    /// Text that certainly belongs to the answer; may be empty.
    pub(crate) text: String,
    /// The stop text that is complete: the answer ends here, and nothing more may be pushed.
    pub(crate) matched: Option<Arc<str>>,
}

#[derive(Debug)]
struct Needle {
    text: Arc<str>,
    /// For each length matched, the longest shorter start of the needle that ends there too.
    shorter: Box<[usize]>,
    matched: usize,
}

impl StopTexts {
    /// Watches for `texts`; empty ones match nothing.
    pub(crate) fn new(texts: &[String]) -> Self {
        let needles = texts.iter().filter(|text| !text.is_empty()).map(|text| Needle::new(text)).collect();
        Self { needles, held: String::new() }
    }

    /// Takes the next piece of text. The first stop text to be complete ends the answer; it begins where the
    /// longest of those that end there begins.
    pub(crate) fn push(&mut self, text: &str) -> Release {
        let seen = self.held.len();
        self.held.push_str(text);
        for (place, &byte) in self.held.as_bytes().iter().enumerate().skip(seen) {
            let complete = self.needles.iter_mut().filter_map(|needle| needle.step(byte));
            if let Some(text) = complete.max_by_key(|text| text.len()) {
                self.held.truncate(place + 1 - text.len());
                return Release { text: std::mem::take(&mut self.held), matched: Some(text) };
            }
        }
        let may_become = self.needles.iter().map(|needle| needle.matched).max().unwrap_or(0);
        let kept = self.held.split_off(self.held.len() - may_become);
        Release { text: std::mem::replace(&mut self.held, kept), matched: None }
    }

    /// Bytes that are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// What was held back, when the answer ends by itself or goes on with what is no text of it.
    pub(crate) fn finish(&mut self) -> String {
        self.needles.iter_mut().for_each(|needle| needle.matched = 0);
        std::mem::take(&mut self.held)
    }
}

impl Needle {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut shorter = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for place in 1..bytes.len() {
            while matched > 0 && bytes[matched] != bytes[place] {
                matched = shorter[matched];
            }
            matched += usize::from(bytes[matched] == bytes[place]);
            shorter[place + 1] = matched;
        }
        Self { text: text.into(), shorter: shorter.into(), matched: 0 }
    }

    /// Takes a byte; its text when it is complete.
    fn step(&mut self, byte: u8) -> Option<Arc<str>> {
        let text = self.text.as_bytes();
        while self.matched > 0 && text[self.matched] != byte {
            self.matched = self.shorter[self.matched];
        }
        self.matched += usize::from(text[self.matched] == byte);
        (self.matched == text.len()).then(|| Arc::clone(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything let go, and whether a stop text ended it.
    fn run<'a>(stops: &[&str], chunks: impl IntoIterator<Item = &'a str>) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.into()).collect();
        let mut watch = StopTexts::new(&stops);
        let mut text = String::new();
        for chunk in chunks {
            let release = watch.push(chunk);
            text += &release.text;
            if let Some(matched) = release.matched {
                assert!(stops.iter().any(|stop| **stop == *matched));
                return (text, true);
            }
        }
        (text + &watch.finish(), false)
    }

    fn check(stops: &[&str], chunks: &[&str], expected: &str, stopped: bool) {
        assert_eq!(run(stops, chunks.iter().copied()), (expected.to_owned(), stopped), "{stops:?} {chunks:?}");
    }

    #[test]
    fn the_answer_ends_before_a_stop_text() {
        check(&["END"], &["one END two"], "one ", true);
        check(&["END"], &["one E", "N", "D two"], "one ", true);
        check(&["\n\n"], &["a\n", "b\n", "\nc"], "a\nb", true);
        check(&["aab"], &["a", "a", "a", "b"], "a", true);
    }

    #[test]
    fn what_only_looked_like_a_stop_text_is_let_go() {
        check(&["END"], &["EN", "TER"], "ENTER", false);
        check(&["END"], &["the EN"], "the EN", false);
        check(&["ababc"], &["abab", "abab"], "abababab", false);
    }

    #[test]
    fn the_first_to_be_complete_wins() {
        check(&["bcX", "c"], &["abcX"], "ab", true);
        check(&["c", "bc"], &["abc"], "a", true);
    }

    #[test]
    fn without_stop_texts_everything_passes_at_once() {
        check(&[], &["all ", "of it"], "all of it", false);
        check(&[""], &["all"], "all", false);
        assert_eq!(StopTexts::new(&[]).push("at once").text, "at once");
    }

    #[test]
    fn only_what_may_become_a_stop_text_waits() {
        let mut watch = StopTexts::new(&["€uro".into()]);
        assert_eq!(watch.push("5 €u").text, "5 ");
        assert_eq!(watch.push("€").text, "€u");
        assert_eq!(watch.finish(), "€");
        assert_eq!(watch.push("uro €").text, "uro ");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            text in "[abé€]{0,40}",
            stops in prop::collection::vec("[abé€]{0,4}", 0..4),
            borders in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            places.push(text.len());
            let mut cuts: Vec<usize> = borders.iter().map(|border| places[border.index(places.len())]).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            let (whole, stopped) = run(&stops, [text.as_str()]);
            prop_assert_eq!(run(&stops, chunks), (whole.clone(), stopped));
            prop_assert!(text.starts_with(&whole));
            prop_assert!(stops.iter().filter(|stop| !stop.is_empty()).all(|stop| !whole.contains(stop)));
            prop_assert_eq!(stopped, stops.iter().any(|stop| !stop.is_empty() && text.contains(stop)));
        }
    }
}
