//! What a terminal shows: tables and progress bars.

use std::fmt;
use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, TableStyle, presets};
use indicatif::{ProgressBar, ProgressStyle};
use weighbridge_hub::Progress;
use weighbridge_models::LoadProgress;

/// Prints a line to standard output, in colour where that is a terminal. Where nobody reads any more, as behind
/// `| head`, it is lost in silence.
macro_rules! say {
    () => { $crate::terminal::line(format_args!("")) };
    ($($text:tt)*) => { $crate::terminal::line(format_args!($($text)*)) };
}
pub(crate) use say;

pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

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
        Self(bytes_bar(format!("loading {name}"), 0))
    }

    /// The bar of a checkpoint that is written anew.
    pub(crate) fn quantising(name: &str) -> Self {
        Self(bytes_bar(format!("quantising {name}"), 0))
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

/// A bar of steps, with what is under way: shown on a terminal and nowhere else.
pub(crate) fn steps_bar(message: &'static str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps).with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{msg:24} [{bar:30}] {pos}/{len} {elapsed_precise}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.tick();
    bar
}

/// The bar of a pull, of all its files together.
pub(crate) struct PullBar(ProgressBar);

impl PullBar {
    pub(crate) fn new() -> Self {
        Self(bytes_bar("asking the hub".to_owned(), 0))
    }

    /// A bar for files that are read again.
    pub(crate) fn checking(name: &str, total_bytes: u64) -> Self {
        Self(bytes_bar(format!("checking {name}"), total_bytes))
    }

    pub(crate) fn show(&self, progress: Progress<'_>) {
        match progress {
            Progress::Planned { files, bytes: total, done } => {
                let files = if files == 1 { "one file".to_owned() } else { format!("{files} files") };
                self.line(|| format!("{files} of {} to fetch, {} of them are here", bytes(total), bytes(done)));
                self.0.set_length(total);
                self.0.set_position(done);
                // What was here before tells nothing about how fast the rest will come.
                self.0.reset_eta();
            }
            Progress::Fetching { path, bytes: size } => {
                self.line(|| format!("fetching {path}, {}", bytes(size)));
                self.0.set_message(path.to_owned());
            }
            Progress::Checking { path } => self.0.set_message(format!("checking {path}")),
            Progress::Arrived { bytes } if bytes >= 0 => self.arrived(bytes.unsigned_abs()),
            Progress::Arrived { bytes } => {
                self.0.set_position(self.0.position().saturating_sub(bytes.unsigned_abs()));
            }
        }
    }

    pub(crate) fn arrived(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Where there is no terminal for a bar, a log learns of each file. Where nobody reads it, it is lost.
    fn line(&self, text: impl FnOnce() -> String) {
        if self.0.is_hidden() {
            let _ = writeln!(anstream::stderr(), "{}", text());
        }
    }
}

impl Drop for PullBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar that counts bytes; hidden where there is no terminal.
fn bytes_bar(message: String, total_bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total_bytes).with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
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
