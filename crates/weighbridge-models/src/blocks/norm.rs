//! Normalisation of rows: by root mean square (<https://arxiv.org/abs/1910.07467>) or by mean and deviation
//! (<https://arxiv.org/abs/1607.06450>).

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, rms_norm};

/// A norm over the last dimension.
#[derive(Debug)]
pub(crate) enum Norm {
    /// `x / sqrt(mean(x²) + eps) · weight`.
    Rms { weight: Tensor, eps: f32 },
    /// `(x - mean(x)) / sqrt(var(x) + eps) · weight + bias`.
    Layer { weight: Tensor, bias: Tensor, eps: f32 },
}

impl Norm {
    /// By root mean square, without a weight.
    pub(crate) fn plain_rms(width: usize, eps: f32) -> Result<Self> {
        Ok(Self::Rms { weight: Tensor::ones(width, DType::F32, &Device::Cpu)?, eps })
    }

    /// By mean and deviation, with one for a weight and zero for a bias where there is none.
    pub(crate) fn layer(width: usize, weight: Option<Tensor>, bias: Option<Tensor>, eps: f32) -> Result<Self> {
        let weight = weight.map_or_else(|| Tensor::ones(width, DType::F32, &Device::Cpu), Ok)?;
        let bias = bias.map_or_else(|| Tensor::zeros(width, DType::F32, &Device::Cpu), Ok)?;
        Ok(Self::Layer { weight, bias, eps })
    }

    /// `[.., width]` to the same.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms { weight, eps } => rms_norm(&x.contiguous()?, weight, *eps),
            Self::Layer { weight, bias, eps } => layer_norm(&x.contiguous()?, weight, bias, *eps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(norm: &Norm, expected: [f32; 2]) -> Result<()> {
        let found: Vec<f32> = norm.forward(&Tensor::new(&[[1.0_f32, 7.0]], &Device::Cpu)?)?.flatten_all()?.to_vec1()?;
        assert!(found.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-5), "{found:?}");
        Ok(())
    }

    #[test]
    fn the_root_mean_square_becomes_one() -> Result<()> {
        check(&Norm::plain_rms(2, 0.0)?, [0.2, 1.4])
    }

    #[test]
    fn the_mean_becomes_the_bias_and_the_deviation_the_weight() -> Result<()> {
        check(&Norm::layer(2, None, None, 0.0)?, [-1.0, 1.0])?;
        let weight = Tensor::new(&[2.0_f32, 3.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.5_f32, 0.0], &Device::Cpu)?;
        check(&Norm::layer(2, Some(weight), Some(bias), 0.0)?, [-1.5, 3.0])
    }
}
