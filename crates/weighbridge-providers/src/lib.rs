//! Hosted backends, one file for each wire dialect.
