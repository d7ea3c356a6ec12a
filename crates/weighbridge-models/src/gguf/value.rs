//! Metadata values. Texts and arrays are kept as places in the file and read on demand.

use std::ops::Range;

use super::GgufError;
use super::reader::Reader;

/// The numbers of the types that are written.
pub(super) const UINT32: u32 = 4;
pub(super) const INT32: u32 = 5;
pub(super) const FLOAT32: u32 = 6;
pub(super) const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;

/// One metadata value, integers and floats widened.
#[derive(Debug)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(Range<usize>),
    Array(Array),
}

/// An array whose elements were walked once, so that its range is known to hold `length` of them.
#[derive(Debug)]
pub(super) struct Array {
    kind: Kind,
    length: usize,
    range: Range<usize>,
}

/// The types of values, by their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, GgufError> {
        let number = reader.u32(&format!("the type of `{key}`"))?;
        Ok(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            UINT32 => Self::U32,
            INT32 => Self::I32,
            FLOAT32 => Self::F32,
            BOOL => Self::Bool,
            STRING => Self::String,
            ARRAY => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return Err(GgufError::field(format!("`{key}`"), format!("has the unknown type {number}"))),
        })
    }

    /// Bytes of one value; of a text, those of its length.
    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            // The type and the length of the inner array.
            Self::Array => 12,
        }
    }
}

impl Value {
    /// Reads the type and the value of the pair named `key`.
    pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, GgufError> {
        let kind = Kind::read(reader, key)?;
        let what = format!("`{key}`");
        Ok(match kind {
            Kind::String => Self::String(reader.text(&what)?),
            Kind::Array => Self::Array(Array::read(reader, key)?),
            _ => Self::scalar(reader, kind, &what)?,
        })
    }

    fn scalar(reader: &mut Reader<'_>, kind: Kind, what: &str) -> Result<Self, GgufError> {
        Ok(match kind {
            Kind::U8 => Self::Unsigned(u8::from_le_bytes(reader.array(what)?).into()),
            Kind::I8 => Self::Signed(i8::from_le_bytes(reader.array(what)?).into()),
            Kind::U16 => Self::Unsigned(u16::from_le_bytes(reader.array(what)?).into()),
            Kind::I16 => Self::Signed(i16::from_le_bytes(reader.array(what)?).into()),
            Kind::U32 => Self::Unsigned(reader.u32(what)?.into()),
            Kind::I32 => Self::Signed(i32::from_le_bytes(reader.array(what)?).into()),
            Kind::F32 => Self::Float(f32::from_le_bytes(reader.array(what)?).into()),
            Kind::U64 => Self::Unsigned(reader.u64(what)?),
            Kind::I64 => Self::Signed(i64::from_le_bytes(reader.array(what)?)),
            Kind::F64 => Self::Float(f64::from_le_bytes(reader.array(what)?)),
            Kind::Bool => match reader.array::<1>(what)? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [other] => return Err(GgufError::field(what, format!("is {other}, where 0 or 1 is expected"))),
            },
            Kind::String | Kind::Array => return Err(GgufError::field(what, "is not a single value")),
        })
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "a whole number",
            Self::Signed(_) => "a signed number",
            Self::Float(_) => "a fraction",
            Self::Bool(_) => "true or false",
            Self::String(_) => "a text",
            Self::Array(_) => "a list",
        }
    }
}

impl Array {
    fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self, GgufError> {
        let kind = Kind::read(reader, key)?;
        let what = format!("`{key}`");
        if kind == Kind::Array {
            return Err(GgufError::field(what, "is a list of lists, which is not supported"));
        }
        let length = reader.count(kind.bytes(), &format!("the length of {what}"))?;
        let start = reader.position();
        if kind == Kind::String {
            for _ in 0..length {
                reader.text(&what)?;
            }
        } else {
            // No overflow: `count` has compared the product with the bytes left.
            reader.take(length * kind.bytes(), &what)?;
        }
        Ok(Self { kind, length, range: start..reader.position() })
    }

    pub(super) fn strings<'a>(&self, file: &'a [u8], key: &str) -> Result<Vec<&'a str>, GgufError> {
        if self.kind != Kind::String {
            return Err(GgufError::field(format!("`{key}`"), "is a list of numbers, where texts are expected"));
        }
        let mut reader = Reader::new(&file[self.range.clone()]);
        let mut texts = Vec::with_capacity(self.length);
        for _ in 0..self.length {
            let range = reader.text(key)?;
            texts.push(text(file, range.start + self.range.start..range.end + self.range.start, key)?);
        }
        Ok(texts)
    }

    pub(super) fn integers(&self, file: &[u8], key: &str) -> Result<Vec<i64>, GgufError> {
        self.numbers(file, key, |value| match value {
            Value::Unsigned(number) => i64::try_from(number).ok(),
            Value::Signed(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn flags(&self, file: &[u8], key: &str) -> Result<Vec<bool>, GgufError> {
        self.numbers(file, key, |value| match value {
            Value::Bool(flag) => Some(flag),
            Value::Unsigned(number) => Some(number != 0),
            Value::Signed(number) => Some(number != 0),
            _ => None,
        })
    }

    pub(super) fn floats(&self, file: &[u8], key: &str) -> Result<Vec<f32>, GgufError> {
        self.numbers(file, key, |value| match value {
            Value::Float(number) => Some(number as f32),
            _ => None,
        })
    }

    fn numbers<T>(&self, file: &[u8], key: &str, read: impl Fn(Value) -> Option<T>) -> Result<Vec<T>, GgufError> {
        let mut reader = Reader::new(&file[self.range.clone()]);
        let mut numbers = Vec::with_capacity(self.length);
        for _ in 0..self.length {
            let value = Value::scalar(&mut reader, self.kind, key)?;
            let number = read(value);
            numbers.push(number.ok_or_else(|| GgufError::field(format!("`{key}`"), "holds values of another type"))?);
        }
        Ok(numbers)
    }
}

/// The text at `range`, which must be well formed.
pub(super) fn text<'a>(file: &'a [u8], range: Range<usize>, key: &str) -> Result<&'a str, GgufError> {
    std::str::from_utf8(&file[range]).map_err(|_| GgufError::field(format!("`{key}`"), "is not valid utf-8"))
}
