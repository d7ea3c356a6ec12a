//! Small whole files for tests of what reads metadata.

use std::sync::Arc;

use super::{Gguf, GgufHeader};
use crate::bytes::Bytes;
use crate::element::ElementType;

/// A value as the metadata keep it.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    Whole(u32),
    Number(f32),
    Flag(bool),
    Text(&'static str),
    Flags(&'static [bool]),
    Texts(&'static [&'static str]),
    Wholes(&'static [u32]),
}

impl Value {
    /// The pair as it stands in a file.
    fn pair(self, key: &str) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        let list = |kind: u32, length: usize, items: Vec<u8>| {
            (9, [&kind.to_le_bytes()[..], &(length as u64).to_le_bytes(), &items].concat())
        };
        let (kind, value): (u32, _) = match self {
            Self::Whole(number) => (4, number.to_le_bytes().to_vec()),
            Self::Number(number) => (6, number.to_le_bytes().to_vec()),
            Self::Flag(flag) => (7, vec![flag.into()]),
            Self::Text(value) => (8, text(value)),
            Self::Flags(flags) => list(7, flags.len(), flags.iter().map(|&flag| flag.into()).collect()),
            Self::Texts(texts) => list(8, texts.len(), texts.iter().flat_map(|it| text(it)).collect()),
            Self::Wholes(numbers) => list(4, numbers.len(), numbers.iter().flat_map(|it| it.to_le_bytes()).collect()),
        };
        [text(key), kind.to_le_bytes().to_vec(), value].concat()
    }
}

/// A file of these pairs and of float32 tensors of these lengths, all zeros.
pub(crate) fn sample(pairs: &[(String, Value)], tensors: &[(&str, usize)]) -> Gguf {
    let mut header = GgufHeader::default();
    for (key, value) in pairs {
        header.copied(&value.pair(key));
    }
    for &(name, length) in tensors {
        header.tensor(name, &[length], ElementType::F32).expect("float32 goes with every length");
    }
    let mut writer = header.start(Vec::new()).expect("memory takes every byte");
    for &(_, length) in tensors {
        writer.tensor(&vec![0; 4 * length]).expect("as long as announced");
    }
    let bytes = writer.finish().expect("all tensors are written");
    Gguf::parse(Bytes::Owned(Arc::new(bytes))).expect("what our own writer wrote is well formed")
}
