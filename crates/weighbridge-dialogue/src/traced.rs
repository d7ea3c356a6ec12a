//! Which parts of a prompt came with the conversation, and which the template wrote.
//!
//! A model steers by markers: `<|im_end|>` ends a turn, `<tool_call>` begins a call. What a template writes as such has
//! to become these tokens; what a message holds must not, or a document could speak as the system. A rendered text no
//! longer tells the one from the other, and following values through a template would mean another engine. So the
//! template renders twice: the conversation as it is, which is the prompt, and the conversation with the first and the
//! last characters of every marker disguised, each as a character that occurs nowhere else. Where the second text,
//! undisguised, is the first again, its disguises are the places that came from outside.
//!
//! It is not where the template looked at them: many split what an assistant said at `</think>`. Then the messages that
//! are looked at are found by halving, and each of them is disguised by itself. What it changes in the text lies between
//! what the two texts have in common at their beginning and at their end; there, every marker that the message holds
//! counts as coming from it. This may take too much, so that a marker which the template repeats is read as text, but
//! it never lets one through.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::{ChatTemplate, Conversation, TemplateError};

/// How often one prompt is rendered at the most. Beyond it, what is not known yet counts as looked at.
const MAX_RENDERINGS: usize = 32;

/// How often any prompt may be rendered, and how many bytes more of these renderings a short one has: the longest
/// prompts take a second each.
const MIN_RENDERINGS: usize = 4;
const RENDERED_BYTES: usize = 8 << 20;

/// The characters for private use that make no text: planes 15 and 16.
const PRIVATE: Range<u32> = 0xf_0000..0x10_fffd;

/// A prompt, and where in it stands what came with the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The prompt, byte for byte what [`ChatTemplate::render`] gives.
    pub text: String,
    /// Places in bytes, in order and apart. They have every character from outside that a marker may begin or end
    /// with, and not the others; a marker without any of them was written by the template.
    pub foreign: Vec<Range<usize>>,
}

/// The markers that a model knows.
#[derive(Clone, Debug, Default)]
pub struct Markers {
    markers: Vec<String>,
    /// What they are written with, in order.
    alphabet: Vec<char>,
    /// What they begin and end with.
    edges: Vec<char>,
}

impl Markers {
    /// Of the tokens as they are written in a text.
    pub fn new(markers: Vec<String>) -> Self {
        let edge = |marker: &String| {
            let marker = marker.trim();
            [marker.chars().next(), marker.chars().next_back()]
        };
        let edges: BTreeSet<char> = markers.iter().flat_map(edge).flatten().collect();
        let alphabet: BTreeSet<char> = markers.iter().flat_map(|marker| marker.chars()).collect();
        Self { alphabet: alphabet.into_iter().collect(), edges: edges.into_iter().collect(), markers }
    }

    /// Whether a text may be a part of a marker, or have one: by what markers begin or end with, or as what stands
    /// between that.
    fn may_touch(&self, text: &str) -> bool {
        text.contains(self.edges.as_slice()) || self.may_be_within(text)
    }

    fn may_be_within(&self, text: &str) -> bool {
        !text.trim().is_empty() && self.markers.iter().any(|marker| marker.contains(text))
    }
}

impl ChatTemplate {
    /// Writes the conversation as [`ChatTemplate::render`] does, and tells what in it came from outside.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`].
    pub fn render_traced(&self, conversation: &Conversation, markers: &Markers) -> Result<Prompt, TemplateError> {
        let text = self.render(conversation)?;
        let units = units(conversation);
        let disguise = Disguise::new(markers, conversation, &text);
        let hides = |unit: &Unit| disguise.as_ref().is_none_or(|disguise| disguise.changes(conversation, *unit));
        let suspects: Vec<_> = units.into_iter().filter(hides).collect();
        let mut foreign = Vec::new();
        if let Some(disguise) = disguise {
            let renderings = (MIN_RENDERINGS + RENDERED_BYTES / text.len().max(1)).min(MAX_RENDERINGS);
            let mut trace = Trace { template: self, conversation, text: &text, disguise, renderings };
            trace.all(&suspects, markers, &mut foreign);
        } else {
            let whole = 0..text.len();
            suspects.iter().for_each(|unit| held_markers(conversation, *unit, markers, &text, &whole, &mut foreign));
        }
        Ok(Prompt { foreign: joined(foreign), text })
    }
}

/// A part of a conversation that is disguised as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Message(usize),
    Tool(usize),
    Extra,
}

fn units(conversation: &Conversation) -> Vec<Unit> {
    let tools = conversation.tools.as_ref().map_or(0, Vec::len);
    let messages = (0..conversation.messages.len()).map(Unit::Message);
    messages.chain((0..tools).map(Unit::Tool)).chain([Unit::Extra]).collect()
}

/// What characters are disguised as.
struct Disguise<'a> {
    markers: &'a Markers,
    /// The private character for the first of the alphabet; those for the others follow.
    first: u32,
}

impl<'a> Disguise<'a> {
    /// `None` where the conversation leaves no private characters free.
    fn new(markers: &'a Markers, conversation: &Conversation, text: &str) -> Option<Self> {
        let mut taken = BTreeSet::new();
        let mut take = |text: &str| taken.extend(text.chars().map(u32::from).filter(|code| PRIVATE.contains(code)));
        take(text);
        units(conversation).into_iter().for_each(|unit| strings(conversation, unit, &mut take));
        markers.markers.iter().for_each(|marker| take(marker));
        let needed = u32::try_from(markers.alphabet.len()).ok()?;
        let mut first = PRIVATE.start;
        for code in taken {
            if code - first >= needed {
                break;
            }
            first = code + 1;
        }
        (first + needed <= PRIVATE.end).then_some(Self { markers, first })
    }

    /// The text with its edges disguised; of what may stand within a marker, unless it is `fixed`, the first character.
    fn hide(&self, text: &str, fixed: bool) -> String {
        let within = !fixed && self.markers.may_be_within(text);
        let hidden = |(at, character): (usize, char)| {
            let hides = self.markers.edges.contains(&character) || within && at == 0;
            let place = self.markers.alphabet.binary_search(&character).ok().filter(|_| hides)?;
            char::from_u32(self.first + u32::try_from(place).ok()?)
        };
        text.char_indices().map(|place| hidden(place).unwrap_or(place.1)).collect()
    }

    /// What a private character stands for.
    fn shown(&self, character: char) -> Option<char> {
        let place = u32::from(character).checked_sub(self.first)?;
        self.markers.alphabet.get(place as usize).copied()
    }

    /// A text without its disguises, and at which bytes of it they were.
    fn undo(&self, text: &str) -> (String, Vec<Range<usize>>) {
        let mut plain = String::with_capacity(text.len());
        let mut places = Vec::new();
        for character in text.chars() {
            let start = plain.len();
            let shown = self.shown(character);
            plain.push(shown.unwrap_or(character));
            places.extend(shown.map(|_| start..plain.len()));
        }
        (plain, places)
    }

    fn changes(&self, conversation: &Conversation, unit: Unit) -> bool {
        let mut changes = false;
        strings(conversation, unit, &mut |text| changes |= self.markers.may_touch(text));
        changes
    }
}

/// The renderings of one conversation.
struct Trace<'a> {
    template: &'a ChatTemplate,
    conversation: &'a Conversation,
    text: &'a str,
    disguise: Disguise<'a>,
    /// How many are left.
    renderings: usize,
}

impl Trace<'_> {
    fn all(&mut self, suspects: &[Unit], markers: &Markers, foreign: &mut Vec<Range<usize>>) {
        let mut unseen = Vec::new();
        self.find_unseen(suspects, &mut unseen);
        // What passes by itself may not pass together.
        match self.render(&unseen) {
            Some((plain, places)) if plain == self.text => foreign.extend(places),
            _ => unseen.clear(),
        }
        for &unit in suspects.iter().filter(|unit| !unseen.contains(unit)) {
            let mut among = unseen.clone();
            among.push(unit);
            let changed = self.render(&among).map_or(0..self.text.len(), |(plain, places)| {
                let changed = difference(self.text, &plain);
                let after = self.text.len() - changed.end;
                let before = places.iter().filter(|place| place.end <= changed.start).cloned();
                let behind = places.iter().filter(|place| place.start >= plain.len() - after);
                let moved = |at: usize| at + self.text.len() - plain.len();
                foreign.extend(before.chain(behind.map(|place| moved(place.start)..moved(place.end))));
                changed
            });
            held_markers(self.conversation, unit, markers, self.text, &changed, foreign);
        }
    }

    /// Finds the units whose disguise the template does not notice.
    fn find_unseen(&mut self, suspects: &[Unit], unseen: &mut Vec<Unit>) {
        if suspects.is_empty() {
            return;
        }
        match self.render(suspects) {
            Some((plain, _)) if plain == self.text => unseen.extend(suspects),
            _ if suspects.len() == 1 => {}
            _ => {
                let (left, right) = suspects.split_at(suspects.len() / 2);
                self.find_unseen(left, unseen);
                self.find_unseen(right, unseen);
            }
        }
    }

    /// The text with these units disguised, undisguised, and where it was; `None` where the template refuses it.
    fn render(&mut self, disguised: &[Unit]) -> Option<(String, Vec<Range<usize>>)> {
        self.renderings = self.renderings.checked_sub(1)?;
        let mut conversation = self.conversation.clone();
        for unit in disguised {
            match *unit {
                Unit::Message(index) => hide(&mut conversation.messages[index], &self.disguise, false),
                Unit::Tool(index) => {
                    conversation.tools.iter_mut().for_each(|tools| hide(&mut tools[index], &self.disguise, false));
                }
                Unit::Extra => conversation.extra.values_mut().for_each(|value| hide(value, &self.disguise, false)),
            }
        }
        let text = self.template.render(&conversation).ok()?;
        Some(self.disguise.undo(&text))
    }
}

/// Below these, the names of fields are the caller's, too.
const FREE_FIELDS: [&str; 3] = ["arguments", "parameters", "properties"];

/// What stands in these is a word of the interface, of which templates may make markers: `'<|' + role + '|>'`.
const FIXED_FIELDS: [&str; 2] = ["role", "type"];

fn hide(value: &mut Value, disguise: &Disguise<'_>, free: bool) {
    match value {
        Value::String(text) => *text = disguise.hide(text, false),
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, disguise, free)),
        Value::Object(fields) => {
            let hidden = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                match &mut value {
                    Value::String(text) if !free && FIXED_FIELDS.contains(&name.as_str()) => {
                        *text = disguise.hide(text, true);
                    }
                    value => hide(value, disguise, free || FREE_FIELDS.contains(&name.as_str())),
                }
                (if free { disguise.hide(&name, false) } else { name }, value)
            });
            *fields = hidden.collect::<Map<_, _>>();
        }
        _ => {}
    }
}

/// Shows every text of a unit, names of fields included.
fn strings(conversation: &Conversation, unit: Unit, show: &mut dyn FnMut(&str)) {
    fn walk(value: &Value, show: &mut dyn FnMut(&str)) {
        match value {
            Value::String(text) => show(text),
            Value::Array(values) => values.iter().for_each(|value| walk(value, show)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                show(name);
                walk(value, show);
            }),
            _ => {}
        }
    }
    match unit {
        Unit::Message(index) => walk(&conversation.messages[index], show),
        Unit::Tool(index) => conversation.tools.iter().for_each(|tools| walk(&tools[index], show)),
        Unit::Extra => conversation.extra.values().for_each(|value| walk(value, show)),
    }
}

/// Adds, of the markers in a part of the text, those that the unit holds.
fn held_markers(
    conversation: &Conversation,
    unit: Unit,
    markers: &Markers,
    text: &str,
    part: &Range<usize>,
    foreign: &mut Vec<Range<usize>>,
) {
    for marker in &markers.markers {
        let mut held = false;
        strings(conversation, unit, &mut |text| held |= text.contains(marker.as_str()));
        if held {
            let found = text.match_indices(marker.as_str()).map(|(at, found)| at..at + found.len());
            foreign.extend(found.filter(|place| place.start < part.end && place.end > part.start));
        }
    }
}

/// Where `text` differs from another: what is left without what both begin with and what both end with.
fn difference(text: &str, other: &str) -> Range<usize> {
    let same = |(one, other): &(char, char)| one == other;
    let start: usize = text.chars().zip(other.chars()).take_while(same).map(|(one, _)| one.len_utf8()).sum();
    let ends = text[start..].chars().rev().zip(other[start..].chars().rev());
    let end: usize = ends.take_while(same).map(|(one, _)| one.len_utf8()).sum();
    start..text.len() - end
}

/// Places in order, those that touch as one.
fn joined(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|place| (place.start, place.end));
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(places.len());
    for place in places {
        match joined.last_mut() {
            Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
            _ => joined.push(place),
        }
    }
    joined
}
