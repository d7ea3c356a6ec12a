//! How many threads compute.

/// The variable by which rayon and candle agree on a number of threads.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Settles the number of computing threads for the whole process, unless the user has set it: one for each
/// processor that this process may use. To be called at the start of `main`: once there is a second thread
/// it does nothing.
///
/// candle asks for that number at every matrix product, and on Linux finds it by reading `/proc/cpuinfo`
/// anew unless the variable is set: with the bundled demo model that was two thirds of the time of a token.
#[cfg(target_os = "linux")]
pub fn settle() {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if !alone || std::env::var_os(THREADS).is_some() {
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: this is the only thread of the process, as the kernel says, so that nothing reads the
    // environment while it is changed.
    unsafe { std::env::set_var(THREADS, threads.to_string()) };
}

/// The number of computing threads: what [`settle`] settled or the user has set, else one for each processor.
pub fn count() -> usize {
    let set = std::env::var(THREADS).ok().and_then(|threads| threads.parse().ok()).filter(|&threads| threads > 0);
    set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Does nothing: elsewhere the number is found without reading files.
#[cfg(not(target_os = "linux"))]
pub fn settle() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn beside_another_thread_the_environment_is_left_alone() {
        let before = std::env::var_os(THREADS);
        std::thread::scope(|scope| scope.spawn(settle).join()).expect("it does not panic");
        assert_eq!(std::env::var_os(THREADS), before);
    }
}
