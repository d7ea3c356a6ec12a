//! What becomes of stored weights on their way to memory.

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::compute::{Compute, Precision};
use crate::element::{ElementType, Form};
use crate::families::GGUF_NAMES;
use crate::parts::{ExpertPart, Kind, Names, Packing, Part};
use crate::quantise::Mixture;
use crate::spec::DecoderSpec;
use crate::weights::Stored;

/// How the weights of a checkpoint are taken in.
pub(crate) struct Treatment {
    pub(crate) compute: Compute,
    pub(crate) adapter: Option<Arc<Adapter>>,
    /// What matrices are put into as they load. Those that are stored in blocks stay in them, unless they are expanded
    /// for an adapter.
    pub(crate) mixture: Option<Mixture>,
}

/// What a matrix is held as.
pub(crate) enum Held {
    /// In float32.
    Floats,
    /// As the file has this type.
    Blocks(ElementType),
}

impl Treatment {
    /// Whether matrices in blocks stay in them.
    pub(crate) fn keeps_packed(&self) -> bool {
        self.compute == Compute::Quantized
    }

    /// Whether an adapter changes a weight as it loads.
    pub(crate) fn merges(&self, part: Part, names: &Names, spec: &DecoderSpec) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.is_merged_into(part, &names.place(part, spec)))
    }

    /// The blocks that a matrix is put into as it loads, where it is.
    pub(crate) fn blocks(&self, part: Part, stored: &Stored, shape: &[usize], is_merged: bool) -> Option<ElementType> {
        let stays = matches!(stored.element.form(), Form::Blocks(_) | Form::Expanded(_)) && !is_merged;
        if stays { None } else { self.blocks_of_floats(part, shape) }
    }

    /// The same of a matrix that was expanded already.
    pub(crate) fn blocks_of_floats(&self, part: Part, shape: &[usize]) -> Option<ElementType> {
        let element = self.mixture.as_ref()?.choose(&GGUF_NAMES.of(part), shape, ElementType::F32);
        matches!(element.form(), Form::Blocks(_)).then_some(element)
    }

    /// What a stored matrix will be held as, and the numbers in it.
    pub(crate) fn held(&self, part: Part, stored: &Stored, names: &Names, spec: &DecoderSpec) -> (Held, u64) {
        let (part, shape) = matrix(part, stored, names.packing);
        let count = shape.iter().map(|&size| size as u64).product();
        let is_merged = self.merges(part, names, spec);
        let element = self.blocks(part, stored, &shape, is_merged);
        let element = element.or_else(|| (!is_merged).then_some(stored.element));
        let columns = shape.last().copied();
        let stays = |element: &ElementType| match self.compute {
            Compute::Float32 | Compute::Cpu { precision: Precision::F32, .. } => false,
            Compute::Quantized => element.stays_packed(columns),
            Compute::Cpu { .. } => shape.len() == 2 && stored.scale.is_none() && element.packs(columns),
        };
        match element.filter(|element| part.may_stay_packed() && stays(element)) {
            Some(element) => (Held::Blocks(element), count),
            None => (Held::Floats, count),
        }
    }
}

/// The matrix that is made of a stored one, outputs first. Experts that are stored in ways of their own are counted as
/// two of one kind.
fn matrix(part: Part, stored: &Stored, packing: Packing) -> (Part, Vec<usize>) {
    let Part::Expert(layer, expert, kind, Kind::Weight) = part else { return (part, stored.shape.clone()) };
    let as_gate = match kind {
        ExpertPart::GateUp => Part::Expert(layer, expert, ExpertPart::Gate, Kind::Weight),
        _ => part,
    };
    match (packing, kind, stored.shape.as_slice()) {
        (Packing::Mxfp4, ExpertPart::GateUpScales | ExpertPart::DownScales, _) => (part, vec![0]),
        // Two numbers in a byte.
        (Packing::Mxfp4, _, &[rows, blocks, bytes]) => (as_gate, vec![rows, 2 * blocks * bytes]),
        (Packing::Transposed { .. }, _, &[inputs, outputs]) => (as_gate, vec![outputs, inputs]),
        _ => (part, stored.shape.clone()),
    }
}
