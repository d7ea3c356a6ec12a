//! Why a backend is out.

use std::fmt;

use weighbridge_backend::{DataClass, Need, PromptCount};

/// One reason why a backend may not answer. The variants stand in the order in which a plan lists them: what
/// no caller can change first.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The route lists it, but nothing of this name is set up.
    Unknown,
    /// The class of the request is above what its caller may send, so nobody may answer.
    Caller {
        /// The highest class that the caller may send.
        highest: DataClass,
        /// The class of the request.
        class: DataClass,
    },
    /// It may not receive a request of this class.
    Clearance {
        /// The highest class that it may receive.
        clearance: DataClass,
        /// The class of the request.
        class: DataClass,
    },
    /// It does not run where the route requires.
    Region {
        /// Where it runs, where that is known.
        region: Option<String>,
        /// The regions that the route allows.
        allowed: Vec<String>,
    },
    /// The caller named another backend, and the route asks that one alone.
    NotNamed,
    /// It is not as good as the route requires.
    Quality {
        /// How good it is, where anybody judged it.
        quality: Option<f64>,
        /// The lowest quality that the route allows.
        min_quality: f64,
    },
    /// It cannot honour something that was asked for.
    CannotHonour {
        /// The first parameter that has this need.
        parameter: String,
        /// What it would take.
        need: Need,
    },
    /// Prompt and answer do not fit.
    ContextTooSmall {
        /// Tokens that fit.
        context: u32,
        /// Tokens of the prompt.
        prompt: PromptCount,
        /// Tokens of the answer that have to fit beside it; 0 where none are counted.
        output: u32,
    },
    /// It cannot answer now, and why.
    Out(String),
}

impl Reason {
    /// Whether it takes the backend out before anyone looks at what the request asks for: the operator's
    /// rules, and the caller's naming.
    pub(crate) fn is_by_rule(&self) -> bool {
        match self {
            Self::Unknown
            | Self::Caller { .. }
            | Self::Clearance { .. }
            | Self::Region { .. }
            | Self::NotNamed
            | Self::Quality { .. } => true,
            Self::CannotHonour { .. } | Self::ContextTooSmall { .. } | Self::Out(_) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no backend of this name is set up"),
            Self::Caller { highest, class } => {
                write!(f, "the caller may send up to {highest}, the request is {class}")
            }
            Self::Clearance { clearance, class } => write!(f, "cleared for {clearance}, the request is {class}"),
            Self::Region { region, allowed } => {
                match region {
                    Some(region) => write!(f, "runs in {region}")?,
                    None => f.write_str("its region is not known")?,
                }
                write!(f, ", the route requires {}", allowed.join(" or "))
            }
            Self::NotNamed => f.write_str("the caller named another backend"),
            Self::Quality { quality, min_quality } => {
                match quality {
                    Some(quality) => write!(f, "its quality is {quality}")?,
                    None => f.write_str("its quality is not known")?,
                }
                write!(f, ", the route requires {min_quality}")
            }
            Self::CannotHonour { parameter, need } => match need {
                Need::Capability(capability) if capability.as_str() != parameter => {
                    write!(f, "cannot honour {parameter} ({capability})")
                }
                Need::Capability(_) => write!(f, "cannot honour {parameter}"),
                Need::Dialect(_) => write!(f, "cannot be handed {parameter}, a field that only its own dialect has"),
            },
            Self::ContextTooSmall { context, prompt, output } => {
                let about = if matches!(prompt, PromptCount::Estimate(_)) { "about " } else { "" };
                write!(f, "its context holds {context} tokens, the prompt has {about}{}", prompt.tokens())?;
                if *output > 0 {
                    write!(f, " and the answer up to {output}")?;
                }
                Ok(())
            }
            Self::Out(why) => write!(f, "out: {why}"),
        }
    }
}
