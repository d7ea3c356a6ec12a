//! Which backends may answer, in which order, and why.
