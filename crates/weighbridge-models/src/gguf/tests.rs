//! Small files, whole and broken in every way that a field allows.

use std::sync::Arc;

use super::*;

/// Builds a file field by field.
#[derive(Clone, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn header(version: u32, tensors: u64, pairs: u64) -> Self {
        Self::default().raw(b"GGUF").u32(version).u64(tensors).u64(pairs)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, number: u32) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.raw(&number.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    fn pair_u32(self, key: &str, value: u32) -> Self {
        self.text(key).u32(4).u32(value)
    }

    fn pair_text(self, key: &str, value: &str) -> Self {
        self.text(key).u32(8).text(value)
    }

    /// An F32 tensor unless `kind` says otherwise; dimensions innermost first.
    fn tensor(mut self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        self = self.text(name).u32(dimensions.len() as u32);
        for &size in dimensions {
            self = self.u64(size);
        }
        self.u32(kind).u64(offset)
    }

    fn padded(mut self) -> Self {
        let length = self.0.len().next_multiple_of(32);
        self.0.resize(length, 0);
        self
    }

    fn parse(self) -> Result<Gguf, GgufError> {
        Gguf::parse(Bytes::Owned(Arc::new(self.0)))
    }
}

/// One of everything: each kind of value, lists, two tensors.
fn sample() -> Writer {
    let writer = Writer::header(3, 2, 6)
        .pair_text("general.architecture", "llama")
        .pair_u32("llama.block_count", 2)
        .text("llama.rope.freq_base")
        .u32(6)
        .raw(&10_000_f32.to_le_bytes())
        .text("tokenizer.ggml.add_bos_token")
        .u32(7)
        .raw(&[1])
        .text("tokenizer.ggml.tokens")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("▁b")
        .text("tokenizer.ggml.token_type")
        .u32(9)
        .u32(5)
        .u64(2)
        .u32(1)
        .u32(3);
    let writer = writer.tensor("one", &[4, 2], 0, 0).tensor("two", &[32], 8, 32).padded();
    writer.raw(&[1; 32]).raw(&[2; 34])
}

fn check_refused(writer: Writer, expected: &str) {
    let message = writer.parse().err().map_or_else(|| "no error".to_owned(), |error| error.to_string());
    assert!(message.contains(expected), "`{message}` does not say `{expected}`");
}

#[test]
fn a_whole_file_gives_back_what_was_written() -> Result<(), GgufError> {
    let file = sample().parse()?;
    assert_eq!(file.string("general.architecture")?, Some("llama"));
    assert_eq!(file.unsigned("llama.block_count")?, Some(2));
    assert_eq!(file.float("llama.rope.freq_base")?, Some(10_000.0));
    assert_eq!(file.boolean("tokenizer.ggml.add_bos_token")?, Some(true));
    assert_eq!(file.strings("tokenizer.ggml.tokens")?, Some(vec!["a", "▁b"]));
    assert_eq!(file.integers("tokenizer.ggml.token_type")?, Some(vec![1, 3]));
    assert_eq!(file.unsigned("absent")?, None);
    let [one, two] = file.tensors() else { return Err(GgufError::Missing("tensors".to_owned())) };
    assert_eq!(
        (one.name.as_str(), one.shape.as_slice(), &file.bytes[one.range.clone()]),
        ("one", &[2, 4][..], &[1; 32][..])
    );
    assert_eq!((two.element.name(), &file.bytes[two.range.clone()]), ("Q8_0", &[2; 34][..]));
    Ok(())
}

#[test]
fn a_value_of_another_type_is_refused_by_its_key() -> Result<(), GgufError> {
    let file = sample().parse()?;
    let error = file.unsigned("general.architecture").err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("`general.architecture` is a text, where a whole number is expected"));
    assert!(file.strings("tokenizer.ggml.token_type").is_err());
    assert!(file.floats("tokenizer.ggml.token_type").is_err());
    assert!(file.string("tokenizer.ggml.tokens").is_err());
    Ok(())
}

#[test]
fn every_truncation_is_refused() {
    let whole = sample().0;
    for length in 0..whole.len() {
        assert!(Writer(whole[..length].to_vec()).parse().is_err(), "{length} of {} bytes", whole.len());
    }
}

/// Reads everything that a file offers, whatever it is.
fn read_all(file: &Gguf) {
    for key in file.metadata.keys() {
        let _ = (file.unsigned(key), file.float(key), file.boolean(key), file.string(key));
        let _ = (file.strings(key), file.integers(key), file.floats(key));
    }
    for tensor in file.tensors() {
        let _ = file.bytes[tensor.range.clone()].len();
    }
}

#[test]
fn changed_bytes_give_a_file_or_an_error_but_no_panic() {
    let whole = sample().0;
    for position in 0..whole.len() {
        for value in [0, 1, 9, 0x7f, 0x80, 0xff, whole[position] ^ 1] {
            let mut changed = whole.clone();
            changed[position] = value;
            if let Ok(file) = Writer(changed).parse() {
                read_all(&file);
            }
        }
    }
}

#[test]
fn runs_of_changed_bytes_give_a_file_or_an_error_but_no_panic() {
    let whole = sample().0;
    // A small generator of our own, so that a failure comes back at every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..20_000 {
        let mut changed = whole.clone();
        for _ in 0..1 + next() % 12 {
            let position = next() % changed.len();
            changed[position] = next() as u8;
        }
        if let Ok(file) = Writer(changed).parse() {
            read_all(&file);
        }
    }
}

#[test]
fn other_files_and_versions_are_refused() {
    check_refused(Writer(b"PK\x03\x04".to_vec()), "is not a gguf file");
    check_refused(Writer::header(1, 0, 0), "version 1 is not supported");
    check_refused(Writer::header(3_u32.swap_bytes(), 0, 0), "little endian");
}

#[test]
fn counts_beyond_the_file_are_refused_before_anything_is_allocated() {
    check_refused(Writer::header(3, u64::MAX, 0), "the count of tensors is 18446744073709551615");
    check_refused(Writer::header(3, 0, 1 << 40), "the count of metadata pairs is 1099511627776");
    let list = Writer::header(3, 0, 1).text("k").u32(9).u32(4).u64(1 << 60).raw(&[0; 16]);
    check_refused(list, "the length of `k` is 1152921504606846976");
    let text = Writer::header(3, 0, 1).text("k").u32(8).u64(u64::MAX).raw(&[0; 16]);
    check_refused(text, "the length of `k` is 18446744073709551615");
}

#[test]
fn broken_metadata_is_refused_by_its_key() {
    let twice = Writer::header(3, 0, 2).pair_u32("k", 1).pair_u32("k", 2);
    check_refused(twice, "`k` occurs twice");
    let unknown = Writer::header(3, 0, 1).text("k").u32(99).raw(&[0; 16]);
    check_refused(unknown, "`k` has the unknown type 99");
    let nested = Writer::header(3, 0, 1).text("k").u32(9).u32(9).u64(0).raw(&[0; 16]);
    check_refused(nested, "`k` is a list of lists");
    let flag = Writer::header(3, 0, 1).text("k").u32(7).raw(&[2, 0, 0, 0]);
    check_refused(flag, "`k` is 2, where 0 or 1 is expected");
    let empty = Writer::header(3, 0, 1).text("").u32(4).u32(1);
    check_refused(empty, "the key of metadata pair 0 has 0 bytes");
    for alignment in [0, 4, 24, 1 << 30] {
        check_refused(Writer::header(3, 0, 1).pair_u32("general.alignment", alignment), "`general.alignment` is");
    }
}

#[test]
fn tensors_that_cannot_be_where_they_claim_are_refused_by_name() {
    let one = |dimensions: &[u64], kind, offset| {
        Writer::header(3, 1, 0).tensor("t", dimensions, kind, offset).padded().raw(&[0; 64])
    };
    check_refused(one(&[], 0, 0).raw(&[0; 64]), "tensor `t` has 0 dimensions");
    check_refused(one(&[1; 5], 0, 0), "tensor `t` has 5 dimensions");
    check_refused(one(&[0], 0, 0), "tensor `t` has a dimension of 0");
    check_refused(one(&[u64::MAX / 2, 8], 0, 0), "tensor `t` has dimensions whose product overflows");
    check_refused(one(&[4], 77, 0), "tensor `t` has the unknown type 77");
    check_refused(one(&[33], 8, 0), "tensor `t` has rows of 33 numbers, but Q8_0 comes in blocks of 32");
    check_refused(one(&[4], 0, 4), "tensor `t` starts at 4, which is no multiple of 32");
    check_refused(one(&[4], 0, u64::MAX - 31), "tensor `t` starts at 18446744073709551584, far outside the file");
    check_refused(one(&[17], 0, 0), "the file ends within the data of tensor `t`");
    let two = |second: &str, offset| {
        Writer::header(3, 2, 0).tensor("t", &[16], 0, 0).tensor(second, &[4], 0, offset).padded().raw(&[0; 96])
    };
    check_refused(two("t", 64), "tensor `t` occurs twice");
    check_refused(two("u", 32), "tensor `u` overlaps tensor `t`");
}

/// A part of a split model, with one tensor of its own.
fn part(number: u32, count: u32, tensors: u32, name: &str) -> Writer {
    let writer = Writer::header(3, 1, 3).pair_u32("split.no", number).pair_u32("split.count", count);
    let writer = writer.pair_u32("split.tensors.count", tensors).tensor(name, &[8], 0, 0).padded();
    writer.raw(&[number as u8; 32])
}

fn parts_of(first: Writer, path: &str, second: Option<Writer>) -> Result<Gguf, GgufError> {
    let mut file = first.parse()?;
    file.add_parts(std::path::Path::new(path), |beside| {
        assert!(beside.ends_with("m-00002-of-00002.gguf"), "{}", beside.display());
        Ok::<_, GgufError>(second.clone().map(|writer| Bytes::Owned(Arc::new(writer.0))))
    })?;
    Ok(file)
}

#[test]
fn the_parts_of_a_split_model_become_one() -> Result<(), GgufError> {
    let file = parts_of(part(0, 2, 2, "a"), "f/m-00001-of-00002.gguf", Some(part(1, 2, 2, "b")))?;
    let found: Vec<_> = file.tensors().iter().map(|it| (it.name.as_str(), file.stored(it).data()[0])).collect();
    assert_eq!(found, [("a", 0), ("b", 1)]);
    Ok(())
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let check = |first: Writer, path: &str, second: Option<Writer>, expected: &str| {
        let message = parts_of(first, path, second).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    };
    let first = "m-00001-of-00002.gguf";
    check(part(0, 2, 2, "a"), first, None, "m-00002-of-00002.gguf is not beside the first");
    check(part(1, 2, 2, "b"), "m-00002-of-00002.gguf", None, "open the first one, m-00001-of-00002.gguf");
    check(part(0, 2, 2, "a"), "m.gguf", None, "the name of the file does not end in");
    check(part(0, 2, 2, "a"), first, Some(part(0, 2, 2, "b")), "`split.no` is 0, where 1 is expected");
    check(part(0, 2, 2, "a"), first, Some(part(1, 2, 2, "a")), "tensor `a` occurs in two parts");
    check(part(0, 2, 3, "a"), first, Some(part(1, 2, 2, "b")), "is 3, but the parts hold 2");
    check(part(0, 9999, 2, "a"), first, None, "`split.count` is 9999; 4096 are allowed");
}
