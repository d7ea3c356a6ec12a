//! The seam of the house: what a backend is asked ([`Request`]), what it answers ([`Event`]), how it
//! fails ([`Failure`]) and what a finished request leaves behind ([`Receipt`]).
//!
//! Plain types and one trait, [`Backend`]. Free of serde and of HTTP on purpose: the gateway's wire
//! format and each provider's live at the rim, and neither can bend the middle.

mod backend;
mod class;
mod event;
mod failure;
mod forecast;
mod meter;
mod money;
mod receipt;
mod request;
mod residence;

pub use backend::{Answer, Answering, Backend, BackendId, Events, Health, Load, Offer, Price, PromptCount, Texts};
pub use class::{DataClass, UnknownClass};
pub use event::{Event, FinishReason, ToolCallDelta, Usage};
pub use failure::{Failure, FailureKind, Stage};
pub use forecast::{Computation, Forecast, PageCounts, TokenTime};
pub use meter::Meter;
pub use money::NanoUsd;
pub use receipt::{AttemptRecord, Outcome, Receipt};
pub use request::{
    Asked, BarePrompt, Capability, Carried, Completion, Constraint, Dialect, Effort, Json, Message, Need, Original,
    Part, Priority, Request, Role, Sampling, Standing, TextForm, Tool, ToolCall, ToolChoice, ToolKind, UnknownPriority,
};
pub use residence::{ModelRefusal, ModelState, ModelStatus, Models, PoolStatus};
