//! HTTP in and out: wire format, callers, admission, dispatch with failover.
