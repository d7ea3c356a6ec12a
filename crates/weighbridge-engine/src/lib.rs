//! The local backend: scheduler, sampler, one thread for each model.
