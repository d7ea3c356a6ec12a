//! How the program fails: one line that says what to do, and an exit code.

use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

use anstream::AutoStream;

use crate::config::Mistakes;

/// Why the program ends.
pub(crate) enum Failure {
    /// It was asked for something it cannot do as asked: exit code 2.
    Usage(String),
    /// Mistakes in the config: exit code 2.
    Config(Mistakes),
    /// Something failed: exit code 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub(crate) fn failed(message: impl Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// Prints it to standard error, in colour where that is a terminal. Returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Config(mistakes) => {
                mistakes.print();
                return ExitCode::from(2);
            }
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
        };
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(AutoStream::auto(std::io::stderr()), "\x1b[1;31merror:\x1b[0m {message}");
        ExitCode::from(code)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(mistakes) => mistakes.fmt(f),
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}
