//! One layer: the twin of `decoder::Layer`.

use weighbridge_kernels::{KvType, Needs, PageShape, Pages, vector};

use super::attention::Attention;
use super::experts::Experts;
use super::feed_forward::Mlp;
use super::latent::Latent;
use super::norm::Norm;
use super::projection::Projection;
use super::{Cost, Scratch, StepRows};
use crate::blocks::feed_forward as reference;
use crate::decoder;

#[derive(Debug)]
pub(super) struct Layer {
    attention_norm: Option<Norm>,
    mixer: Mixer,
    attention_after: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_after: Option<Norm>,
    is_parallel: bool,
    /// What the input of the mixer is rounded for, and that of the feed-forward part.
    needs: [Needs; 2],
    residual_scale: f32,
    rope: Option<usize>,
    span: usize,
}

#[derive(Debug)]
enum Mixer {
    Attention(Attention),
    Latent(Latent),
}

#[derive(Debug)]
enum FeedForward {
    Dense(Mlp),
    Experts(Box<Experts>),
}

impl Layer {
    pub(super) fn of(layer: &decoder::Layer) -> Option<Self> {
        let norm = |norm: &Option<crate::blocks::norm::Norm>| match norm {
            Some(norm) => Norm::of(norm).map(Some),
            None => Some(None),
        };
        let around = layer.laurel.is_some() || layer.streams.is_some() || layer.hyper.is_some();
        if around || layer.rows.is_some() || layer.output_scale != 1.0 {
            return None;
        }
        let mixer = match &layer.mixer {
            decoder::Mixer::Attention(attention) => Mixer::Attention(Attention::of(attention)?),
            decoder::Mixer::Latent(latent) => Mixer::Latent(Latent::of(latent)?),
            decoder::Mixer::Delta(_) | decoder::Mixer::Compressed(_) => return None,
        };
        let feed_forward = match &layer.feed_forward {
            reference::FeedForward::Dense(mlp) => FeedForward::Dense(Mlp::of(mlp)?),
            reference::FeedForward::Experts(experts) => FeedForward::Experts(Box::new(Experts::of(experts)?)),
            reference::FeedForward::Beside(_) => return None,
        };
        let needs = [mixer.needs(), feed_forward.needs()];
        Some(Self {
            attention_norm: norm(&layer.attention_norm)?,
            // Side by side they see the same input.
            needs: if layer.is_parallel { [needs[0].and(needs[1]); 2] } else { needs },
            mixer,
            attention_after: norm(&layer.attention_after)?,
            feed_forward_norm: norm(&layer.feed_forward_norm)?,
            feed_forward,
            feed_forward_after: norm(&layer.feed_forward_after)?,
            is_parallel: layer.is_parallel,
            residual_scale: layer.residual_scale as f32,
            rope: layer.rope,
            span: layer.span,
        })
    }

    pub(super) fn page_shape(&self, kind: KvType) -> PageShape {
        match &self.mixer {
            Mixer::Attention(attention) => attention.page_shape(kind),
            Mixer::Latent(latent) => latent.page_shape(kind),
        }
    }

    pub(super) fn cost(&self) -> Cost {
        let mixer = match &self.mixer {
            Mixer::Attention(attention) => attention.cost(),
            Mixer::Latent(latent) => latent.cost(),
        };
        mixer.plus(match &self.feed_forward {
            FeedForward::Dense(mlp) => mlp.cost(),
            FeedForward::Experts(experts) => experts.cost(),
        })
    }

    pub(super) fn forward(&self, step: &StepRows<'_>, pages: &mut Pages, scratch: &mut Scratch) {
        normed(step, self.attention_norm.as_ref(), self.needs[0], scratch);
        let output = match &self.mixer {
            Mixer::Attention(attention) => attention.forward(step, self.rope, self.span, pages, scratch),
            Mixer::Latent(latent) => latent.forward(step, self.rope, self.span, pages, scratch),
        };
        output.round(step.cpu, &mut scratch.inner);
        self.add(step, output, self.attention_after.as_ref(), scratch);
        if !self.is_parallel {
            normed(step, self.feed_forward_norm.as_ref(), self.needs[1], scratch);
        }
        match &self.feed_forward {
            FeedForward::Dense(mlp) => {
                mlp.inner(step.cpu, scratch);
                self.add(step, mlp.down(), self.feed_forward_after.as_ref(), scratch);
            }
            FeedForward::Experts(experts) => {
                experts.forward(step.cpu, scratch);
                let Scratch { x, out, mixture, .. } = scratch;
                out.resize(x.len(), 0.0);
                self.add_rows(step, self.feed_forward_after.as_ref(), out, x, |row, given| {
                    experts.gather(step.cpu, mixture, row, given);
                });
            }
        }
    }

    /// Multiplies what `inner` holds with the last matrix of a part and adds it to the residual stream.
    fn add(&self, step: &StepRows<'_>, output: &Projection, after: Option<&Norm>, scratch: &mut Scratch) {
        let Scratch { x, inner, out, .. } = scratch;
        if after.is_none() {
            step.cpu.product(inner, &mut [output.added(x, self.residual_scale)]);
            return;
        }
        out.resize(step.count * output.outputs(), 0.0);
        step.cpu.product(inner, &mut [output.product(out)]);
        self.add_rows(step, after, out, x, |_, _| ());
    }

    /// Adds the rows of `given`, once `finish` has been called for each, to those of the residual stream.
    fn add_rows(
        &self,
        step: &StepRows<'_>,
        after: Option<&Norm>,
        given: &mut [f32],
        x: &mut [f32],
        finish: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let hidden = x.len() / step.count;
        step.cpu.each_rows([x, given], [hidden; 2], |row, [x, given]| {
            finish(row, given);
            if let Some(after) = after {
                after.parts(step.cpu, given);
            }
            vector::add_weighed(step.cpu, x, self.residual_scale, given);
        });
    }
}

impl Mixer {
    fn needs(&self) -> Needs {
        match self {
            Self::Attention(attention) => Projection::needs_of(attention.first()),
            Self::Latent(latent) => Projection::needs_of(latent.first()),
        }
    }
}

impl FeedForward {
    fn needs(&self) -> Needs {
        match self {
            Self::Dense(mlp) => Projection::needs_of(mlp.first()),
            Self::Experts(experts) => experts.needs(),
        }
    }
}

/// The rows of the residual stream, normalised where there is a norm, and rounded for what they meet.
fn normed(step: &StepRows<'_>, norm: Option<&Norm>, needs: Needs, scratch: &mut Scratch) {
    let Scratch { x, normed, .. } = scratch;
    let hidden = x.len() / step.count;
    normed.fill(step.cpu, (step.count, hidden), needs, |row, to| {
        let x = &x[row * hidden..][..hidden];
        match norm {
            Some(norm) => norm.row(step.cpu, x, to),
            None => to.copy_from_slice(x),
        }
    });
}
