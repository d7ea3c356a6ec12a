//! `weighbridge models quantize`: a checkpoint with smaller numbers.

use weighbridge_models::{QuantizeError, quantize};

use crate::cli::QuantizeArguments;
use crate::failure::Failure;
use crate::terminal::say;
use crate::terminal::{self, LoadBar};

pub(crate) fn run(arguments: &QuantizeArguments) -> Result<(), Failure> {
    let QuantizeArguments { input, output, target } = arguments;
    let bar = LoadBar::quantising(&input.display().to_string());
    let written = quantize(input, output, *target, &mut |progress| bar.show(progress));
    drop(bar);
    let written = written.map_err(|error| match error {
        QuantizeError::Exists(_) => Failure::usage(error),
        _ => Failure::failed(error),
    })?;
    let tensors: Vec<String> = written.tensors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    say!("{}: {} ({})", output.display(), terminal::bytes(written.file_bytes), tensors.join(", "));
    Ok(())
}
