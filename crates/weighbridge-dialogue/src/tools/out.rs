//! What leaves an answer's parser: text, thoughts and pieces of calls, in their order.

use weighbridge_backend::ToolCallDelta;

use super::{IdStyle, ToolSchemas};

/// Bytes of the longest stretch that is held until it is known what it is.
const MAX_HELD: usize = 1 << 20;

/// A piece of what the model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer; never empty.
    Text(String),
    /// What the model thinks before it answers; never empty.
    Reasoning(String),
    /// A piece of a call, as [`ToolCallDelta`] tells it.
    Call(ToolCallDelta),
}

/// Calls that went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Began as calls, were none, and came back as text.
    pub malformed: u32,
    /// Broke when some of them was told already: their arguments stay without an end, and no parser of JSON takes
    /// them for whole.
    pub broken: u32,
}

/// Gathers pieces. Neighbours of a kind are joined, so that the same answer gives the same text however it came.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) schemas: ToolSchemas,
    /// Whether a name that no tool has is no call.
    pub(crate) only_known: bool,
    /// Whether a call is told only once it is whole.
    whole_only: bool,
    ids: IdStyle,
    seed: String,
    pieces: Vec<Piece>,
    /// Calls told, whole or not.
    told: u32,
    whole: u32,
    /// Whether the arguments of the last call told go on.
    open: bool,
    /// The call under way, where it is told only once it is whole.
    waiting: Option<ToolCallDelta>,
    /// Ids that the model gave.
    given: Vec<String>,
    /// What was read of a call and is not told.
    raw: String,
    faults: Faults,
}

impl Out {
    pub(crate) fn new(schemas: ToolSchemas, ids: IdStyle, only_known: bool, seed: &str) -> Self {
        Self {
            schemas,
            only_known,
            whole_only: false,
            ids,
            seed: seed.into(),
            pieces: Vec::new(),
            told: 0,
            whole: 0,
            open: false,
            waiting: None,
            given: Vec::new(),
            raw: String::new(),
            faults: Faults::default(),
        }
    }

    /// Tells each call only once it is whole: one that breaks is text from its beginning on.
    pub(crate) fn tell_whole_calls(&mut self) {
        self.whole_only = true;
    }

    pub(crate) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    /// Calls that were told, complete or not.
    pub(crate) fn told(&self) -> u32 {
        self.told
    }

    /// Calls that are complete.
    pub(crate) fn whole(&self) -> u32 {
        self.whole
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    pub(crate) fn text(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.into())),
        }
    }

    pub(crate) fn reasoning(&mut self, text: &str) {
        match self.pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Reasoning(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Reasoning(text.into())),
        }
    }

    /// Takes a character that may belong to a call. Whether there is room for it: arguments may be of any length.
    pub(crate) fn hold(&mut self, text: &str) -> bool {
        self.raw.push_str(text);
        self.waiting.is_some() || self.raw.len() <= MAX_HELD
    }

    /// Gives the last character back.
    pub(crate) fn unhold(&mut self) {
        self.raw.pop();
    }

    /// What was read since the last piece that was told; of a call that waits to be whole, all of it.
    pub(crate) fn take_raw(&mut self) -> String {
        std::mem::take(&mut self.raw)
    }

    /// Tells that a call begins: its id and name. `id` is the model's own, where it gave one that may serve.
    pub(crate) fn begin(&mut self, name: &str, id: Option<&str>) {
        let index = self.told;
        let own = id.filter(|id| !self.given.iter().any(|given| given == id)).map(str::to_owned);
        let id = Some(own.unwrap_or_else(|| self.id(index)));
        let call = ToolCallDelta { index, id, name: Some(name.into()), arguments: String::new(), custom: false };
        self.told += 1;
        self.open = true;
        if self.whole_only {
            self.waiting = Some(call);
        } else {
            self.tell(call);
        }
    }

    /// Tells more of the arguments of the call that began last.
    pub(crate) fn arguments(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(call) = &mut self.waiting {
            return call.arguments.push_str(text);
        }
        let index = self.told.saturating_sub(1);
        match self.pieces.last_mut() {
            Some(Piece::Call(last)) if last.index == index && last.name.is_none() => last.arguments.push_str(text),
            _ => self.pieces.push(Piece::Call(ToolCallDelta {
                index,
                id: None,
                name: None,
                arguments: text.into(),
                custom: false,
            })),
        }
        self.raw.clear();
    }

    /// The arguments are complete, and valid.
    pub(crate) fn end(&mut self) {
        if let Some(call) = self.waiting.take() {
            self.tell(call);
        }
        self.open = false;
        self.whole += 1;
        self.raw.clear();
    }

    /// The call under way will not be completed. Whether there was one.
    pub(crate) fn abandon(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        if self.waiting.take().is_some() {
            // Nobody was told of it, and the next call has its number.
            self.told -= 1;
            self.faults.malformed += 1;
        } else {
            self.faults.broken += u32::from(open);
        }
        open
    }

    fn tell(&mut self, call: ToolCallDelta) {
        self.given.extend(call.id.clone());
        self.pieces.push(Piece::Call(call));
        self.raw.clear();
    }

    /// What looked like a call was none.
    pub(crate) fn note_malformed(&mut self) {
        self.faults.malformed += 1;
    }

    /// FNV-1a, 128 bits: each step maps the hashes so far one to one, so ids of one seed all differ.
    fn id(&self, call: u32) -> String {
        const PRIME: u128 = (1 << 88) + 0x13b;
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in self.seed.bytes().chain(call.to_le_bytes()) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
        }
        match self.ids {
            IdStyle::Long => format!("call_{hash:032x}"),
            IdStyle::Nine => nine(hash),
        }
    }
}

/// The highest bits of a hash as nine letters and digits, which Mistral's templates ask for.
fn nine(hash: u128) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = (hash >> 64) as u64;
    let letter = || {
        let letter = char::from(LETTERS[(rest % 62) as usize]);
        rest /= 62;
        letter
    };
    std::iter::repeat_with(letter).take(9).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(ids: IdStyle, seed: &str) -> Out {
        Out::new(ToolSchemas::default(), ids, false, seed)
    }

    fn ids(style: IdStyle, seed: &str) -> Vec<String> {
        let mut out = out(style, seed);
        (0..3).for_each(|_| out.begin("f", None));
        let id = |piece| if let Piece::Call(delta) = piece { delta.id } else { None };
        out.take().into_iter().filter_map(id).collect()
    }

    #[test]
    fn ids_follow_from_the_seed_and_differ() {
        for style in [IdStyle::Long, IdStyle::Nine] {
            let mut all = [ids(style, "a"), ids(style, "b")].concat();
            assert_eq!(all[..3], ids(style, "a"));
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 6);
        }
        assert!(ids(IdStyle::Long, "a").iter().all(|id| id.starts_with("call_")));
        let is_nine = |id: &String| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric());
        assert!(ids(IdStyle::Nine, "a").iter().all(is_nine));
    }

    #[test]
    fn an_id_of_the_model_serves_once() {
        let mut out = out(IdStyle::Long, "a");
        out.begin("f", Some("functions.f:0"));
        out.begin("f", Some("functions.f:0"));
        let ids: Vec<_> = out.take();
        assert!(matches!(&ids[0], Piece::Call(delta) if delta.id.as_deref() == Some("functions.f:0")));
        assert!(matches!(&ids[1], Piece::Call(delta) if delta.id.as_deref().is_some_and(|id| id.starts_with("call_"))));
    }
}
