//! What a terminal shows: tables and progress bars.

use std::io::IsTerminal;

use comfy_table::{ContentArrangement, Table, TableStyle, presets};
use indicatif::{ProgressBar, ProgressStyle};
use weighbridge_models::LoadProgress;

/// A table that fits the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = styled(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    table
}

/// A table of names and values.
pub(crate) fn pairs() -> Table {
    styled(presets::NOTHING)
}

fn styled(style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic);
    // Where there is no terminal, lines are as long as they are: programs read them.
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size() {
        table.set_width(width);
    }
    table
}

/// The bar of a load: shown on a terminal and nowhere else.
pub(crate) struct LoadBar(ProgressBar);

impl LoadBar {
    pub(crate) fn new(name: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style =
            ProgressStyle::with_template("loading {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let bar = ProgressBar::new(0).with_message(name.to_owned());
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn show(&self, progress: LoadProgress) {
        self.0.set_length(progress.total_bytes);
        self.0.set_position(progress.done_bytes);
    }
}

impl Drop for LoadBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Bytes as a person reads them.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A count of parameters as a person reads it: `3.6 M`, `1.24 B`.
pub(crate) fn parameters(count: u64) -> String {
    let (scale, unit) = match count {
        1_000_000_000.. => (1e9, " B"),
        1_000_000.. => (1e6, " M"),
        1_000.. => (1e3, " k"),
        _ => (1.0, ""),
    };
    let number = count as f64 / scale;
    if unit.is_empty() { count.to_string() } else { format!("{number:.2}{unit}") }
}
