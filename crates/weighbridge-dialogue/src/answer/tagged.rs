//! Answers that are text, with thoughts and calls among it between markers.

use crate::tools::Opening;
use crate::tools::out::Out;
use crate::tools::reader::{Reader, Step};
use crate::{ReasoningFormat, ToolFormat};

#[derive(Clone, Debug)]
pub(super) struct Tagged {
    tools: Option<ToolFormat>,
    markers: Vec<Marker>,
    /// Kept from the reader.
    hidden: Vec<String>,
    state: State,
    /// White space that is dropped where a call or the end of a thought follows.
    space: String,
    /// What may be the beginning of a marker.
    held: String,
    /// White space is dropped until something else comes.
    skips_space: bool,
    /// Nothing of the answer was text so far.
    at_start: bool,
}

#[derive(Clone, Debug)]
struct Marker {
    text: &'static str,
    means: Means,
}

#[derive(Clone, Copy, Debug)]
enum Means {
    Thought,
    EndOfThought,
    Call(Opening),
    Nothing,
}

#[derive(Clone, Debug)]
enum State {
    Text,
    Thought,
    Call {
        reader: Box<Reader>,
        /// Whether a call of these was told.
        told: bool,
        /// Whether its being no call is worth a word.
        at_start: bool,
    },
}

impl Tagged {
    pub(super) fn new(tools: Option<ToolFormat>, reasoning: Option<ReasoningFormat>) -> Self {
        let mut markers = Vec::new();
        let mut add = |text: &'static str, means| markers.push(Marker { text, means });
        if let Some(tags) = reasoning.map(ReasoningFormat::tags) {
            tags.opens.iter().for_each(|text| add(text, Means::Thought));
            tags.closes.iter().for_each(|text| add(text, Means::EndOfThought));
            tags.around.iter().for_each(|text| add(text, Means::Nothing));
        }
        let openings = tools.map_or(&[][..], ToolFormat::openings);
        openings.iter().for_each(|opening| add(opening.marker, Means::Call(*opening)));
        Self {
            tools,
            markers,
            hidden: Vec::new(),
            state: State::Text,
            space: String::new(),
            held: String::new(),
            skips_space: false,
            at_start: true,
        }
    }

    pub(super) fn begin_thought(&mut self) {
        self.state = State::Thought;
        self.skips_space = true;
    }

    pub(super) fn hide(&mut self, markers: &[String]) {
        self.hidden = markers.to_vec();
    }

    /// Whether nothing can come of an answer but its text.
    pub(super) fn is_plain(&self) -> bool {
        self.markers.is_empty() && self.hidden.is_empty()
    }

    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thought)
    }

    pub(super) fn step(&mut self, c: char, out: &mut Out) {
        if matches!(self.state, State::Call { .. }) {
            if self.call(c, out) {
                return;
            }
            self.leave_call(false, out);
        }
        self.held.push(c);
        while !self.held.is_empty() {
            match self.marker() {
                Some(Ok(means)) => return self.act(means, out),
                Some(Err(())) => return,
                None => self.let_go(out),
            }
        }
    }

    /// Takes the first of what is held, which begins no marker that counts, as text; a hidden one as nothing.
    fn let_go(&mut self, out: &mut Out) {
        match self.hidden.iter().find(|hidden| self.held.starts_with(hidden.as_str())) {
            Some(hidden) => _ = self.held.drain(..hidden.len()),
            None => {
                let first = self.held.remove(0);
                self.plain(first, out);
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Out) {
        if let State::Call { reader, told, .. } = &self.state {
            if *told && reader.is_between() {
                out.take_raw();
                self.state = State::Text;
                return;
            }
            self.leave_call(false, out);
        }
        while !self.held.is_empty() {
            self.let_go(out);
        }
        let space = std::mem::take(&mut self.space);
        self.tell(&space, out);
    }

    /// What is held: a marker that counts here, the beginning of one, or neither. A hidden one may begin another, and
    /// is taken for itself only where it does not go on as that.
    fn marker(&self) -> Option<Result<Means, ()>> {
        let mut found = None;
        for marker in self.markers.iter().filter(|marker| self.counts(marker.means)) {
            match marker.text.strip_prefix(self.held.as_str()) {
                Some("") => return Some(Ok(marker.means)),
                Some(_) => found = Some(Err(())),
                None => {}
            }
        }
        let begins = self.hidden.iter().any(|hidden| hidden.starts_with(&self.held) && *hidden != self.held);
        found.or_else(|| begins.then_some(Err(())))
    }

    fn counts(&self, means: Means) -> bool {
        let is_thinking = self.is_thinking();
        match means {
            Means::Thought => !is_thinking,
            Means::EndOfThought => is_thinking,
            Means::Call(_) if is_thinking => self.tools.is_some_and(ToolFormat::ends_thoughts),
            Means::Call(opening) => !opening.at_start || self.at_start,
            Means::Nothing => true,
        }
    }

    fn act(&mut self, means: Means, out: &mut Out) {
        let marker = std::mem::take(&mut self.held);
        match means {
            Means::Nothing => {}
            Means::Thought => {
                let space = std::mem::take(&mut self.space);
                self.tell(if self.at_start { "" } else { &space }, out);
                self.begin_thought();
            }
            Means::EndOfThought => {
                self.space.clear();
                self.state = State::Text;
                self.skips_space = true;
            }
            Means::Call(opening) => {
                let Some(reader) = self.tools.and_then(|format| format.reader(&opening)) else { return };
                let space = std::mem::take(&mut self.space);
                out.hold(if self.is_thinking() { "" } else { &space });
                self.state = State::Call { reader: Box::new(reader), told: false, at_start: opening.at_start };
                let (before, replayed) = marker.split_at(marker.len() - opening.replayed);
                out.hold(before);
                replayed.chars().for_each(|c| self.step(c, out));
            }
        }
    }

    fn plain(&mut self, c: char, out: &mut Out) {
        if c.is_whitespace() {
            if self.skips_space {
                return;
            }
            if self.tools.is_some() || self.is_thinking() {
                return self.space.push(c);
            }
        }
        self.skips_space = false;
        let mut text = std::mem::take(&mut self.space);
        text.push(c);
        self.at_start &= self.is_thinking() || c.is_whitespace();
        self.tell(&text, out);
    }

    fn tell(&self, text: &str, out: &mut Out) {
        if self.is_thinking() { out.reasoning(text) } else { out.text(text) }
    }

    /// Whether a call takes the character.
    fn call(&mut self, c: char, out: &mut Out) -> bool {
        let State::Call { reader, told, .. } = &mut self.state else { return false };
        let calls = out.told();
        let step = if out.hold(c.encode_utf8(&mut [0; 4])) { reader.step(c, out) } else { Step::Refused };
        *told |= out.told() > calls;
        match step {
            Step::Taken => {}
            Step::Last => self.leave_call(true, out),
            Step::Refused => out.unhold(),
        }
        step != Step::Refused
    }

    /// Goes on with text. What was read of a call that is none is text too; `ended` tells that all was read which
    /// belongs to calls.
    fn leave_call(&mut self, ended: bool, out: &mut Out) {
        let State::Call { told, at_start, .. } = std::mem::replace(&mut self.state, State::Text) else { return };
        let mut raw = out.take_raw();
        let broken = out.abandon();
        if told && !broken {
            raw = if ended { String::new() } else { raw.trim_start().into() };
        } else if !broken && !at_start {
            out.note_malformed();
        }
        self.hidden.iter().for_each(|hidden| raw = raw.replace(hidden.as_str(), ""));
        self.skips_space = told && raw.is_empty();
        self.at_start &= raw.trim().is_empty();
        out.text(&raw);
    }
}
