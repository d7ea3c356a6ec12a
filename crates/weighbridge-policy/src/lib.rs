//! Which backends may answer, in which order, and why.
//!
//! The order of thought, from a request to its plan:
//!
//! 1. **match**: [`find_route`] takes the first route, in the order of the file, whose [`Match`] takes the
//!    request and that its caller may use;
//! 2. **exclude**: [`plan`] holds every backend of the route against the hard requirements (privacy,
//!    region, naming, quality, capabilities, context, health), and keeps each [`Reason`] that speaks
//!    against it, not only the first;
//! 3. **score**: what is left gets its estimated cost, and the [`Prefer`] of the route says what counts;
//! 4. **order**: the best first, ties as the route lists them, each with the reason for its place.
//!
//! Privacy is a lattice: the class of a request is the highest of its route's, its caller's and its
//! header's ([`class_of`]), and a backend whose clearance is below it is never among the attempts. Since
//! the attempts are the only source that dispatch draws from, no failure can widen it.
//!
//! No I/O, no clock, no async: what the world is like comes in as values ([`Asking`], [`BackendFacts`]),
//! so the same facts give the same [`Plan`], before a request (`explain`) as after it (the record).

mod asking;
mod exclude;
mod find;
mod order;
mod pattern;
mod plan;
mod prefer;
mod reason;
mod route;

pub use asking::{Asking, BackendFacts, CallerFacts, FirstToken, class_of};
pub use find::{Known, NoRoute, Rule, find_route};
pub use pattern::Pattern;
pub use plan::{Choice, Exclusion, Plan, Refusal, plan};
pub use prefer::{Prefer, UnknownPreference};
pub use reason::Reason;
pub use route::{Match, Named, Require, Route, UnknownNaming};
