//! Threads that compute one thing after another, with nothing between two of them but a few hundred nanoseconds.
//!
//! A forward pass is a hundred and more short pieces of work, each of which needs the one before. A thread that slept
//! between two of them would spend more time on waking than on work, so for a while it looks for the next piece
//! instead. But this machine is shared: a thread may lose its processor at any time. So work is handed out in small
//! tasks to whoever asks, nobody waits for a thread that has no task, and who has to wait gives its processor away.

use std::any::Any;
use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Instant;

/// Looks for work before a thread gives its processor away between two looks: some tens of microseconds.
const SPINS: u32 = 4_000;
/// Times that it does so before it sleeps.
const YIELDS: u32 = 400;
/// Tasks of one piece of work.
const TASKS_MAX: usize = u16::MAX as usize;
/// The number of a piece of work has 32 bits, and begins again behind the last.
const PIECES_MASK: u64 = u32::MAX as u64;
/// Tasks for each thread in one piece of work that nobody waits for.
const BESIDE_TASKS: usize = 2;
/// How long the thread of such work rests while others bring work, in lengths of its last task: it takes a third of a
/// processor.
const BESIDE_REST: u32 = 2;

/// A pool of threads, of which the one that brings the work is one.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by whoever brings work: one piece at a time.
    turn: Mutex<()>,
    /// Threads that wait for their turn.
    waiting: AtomicUsize,
    /// Pieces of work there had been when the last one that nobody waits for was over.
    beside: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    /// Number of the piece of work (32 bits), its tasks (16), tasks taken (16). In one word, so that whoever takes a
    /// task takes it of that very piece.
    state: AtomicU64,
    /// Tasks that are done.
    done: AtomicUsize,
    work: AtomicPtr<()>,
    call: AtomicPtr<()>,
    /// Workers that sleep, a bit each.
    asleep: AtomicU64,
    closed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

type Call = unsafe fn(*const (), usize);

impl Pool {
    /// The most threads of a pool.
    pub const THREADS_MAX: usize = 64;

    /// A pool of `threads`, the caller's own included; 1 to [`Self::THREADS_MAX`], else the nearest of those.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            work: AtomicPtr::default(),
            call: AtomicPtr::default(),
            asleep: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let workers = (1..threads.clamp(1, Self::THREADS_MAX)).filter_map(|index| {
            let shared = Arc::clone(&shared);
            // With fewer threads than asked for it is slower, and as right.
            thread::Builder::new().name(format!("compute-{index}")).spawn(move || shared.serve(index)).ok()
        });
        let workers = workers.collect();
        Self { shared, workers, turn: Mutex::new(()), waiting: AtomicUsize::new(0), beside: AtomicU64::new(0) }
    }

    /// Threads that compute, the caller's own included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once for each number below `tasks`, on all threads, and returns when all calls have.
    ///
    /// # Panics
    /// When a call does, and when there are more than 65,535 tasks. A call must not bring work to the same pool itself:
    /// it would wait for its own end.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, work: F) {
        assert!(tasks <= TASKS_MAX, "{tasks} tasks are more than {TASKS_MAX}");
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(work);
            return;
        }
        let _turn = self.turn();
        self.shared.publish(tasks, &work);
        self.wake();
        self.shared.take_tasks();
        self.shared.wait(tasks);
        let panic = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            panic::resume_unwind(panic);
        }
    }

    /// The same for work that nobody waits for, such as packing the weights of one model beside the answers of others.
    /// It goes in pieces of a few tasks. While nobody else brings work all threads do them; while somebody does, this
    /// thread does them alone, and rests between them so that the processors stay with what is waited for.
    ///
    /// # Panics
    /// When a call does. A call must not bring work to the same pool itself.
    pub fn run_beside<F: Fn(usize) + Sync>(&self, tasks: usize, work: F) {
        let mut done = 0;
        let mut seen = self.beside.load(Ordering::Relaxed);
        while done < tasks {
            let is_quiet = self.shared.pieces() == seen && self.waiting.load(Ordering::Relaxed) == 0;
            seen = if is_quiet {
                let piece = (BESIDE_TASKS * self.threads()).min(tasks - done);
                self.run(piece, |task| work(done + task));
                done += piece;
                // Those of others that came with this one show as too many.
                if piece > 1 && !self.workers.is_empty() { (seen + 1) & PIECES_MASK } else { seen }
            } else {
                let (began, seen) = (Instant::now(), self.shared.pieces());
                work(done);
                done += 1;
                thread::sleep(began.elapsed() * BESIDE_REST);
                seen
            };
            self.beside.store(seen, Ordering::Relaxed);
        }
    }

    /// Waits for the turn to bring work.
    fn turn(&self) -> MutexGuard<'_, ()> {
        match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                turn
            }
        }
    }

    fn wake(&self) {
        // Between the state that was published and the look at who sleeps; its pair is in `Shared::sleep`.
        fence(Ordering::SeqCst);
        let mut asleep = self.shared.asleep.load(Ordering::Relaxed);
        while asleep != 0 {
            let index = asleep.trailing_zeros() as usize;
            self.thread(index).unpark();
            asleep &= asleep - 1;
        }
    }

    fn thread(&self, index: usize) -> &Thread {
        self.workers[index - 1].thread()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // It cannot have panicked: its tasks are caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Pieces of work there have been, by [`PIECES_MASK`].
    fn pieces(&self) -> u64 {
        self.state.load(Ordering::Relaxed) >> 32
    }

    fn publish<F: Fn(usize) + Sync>(&self, tasks: usize, work: &F) {
        unsafe fn call<F: Fn(usize) + Sync>(work: *const (), task: usize) {
            // SAFETY: `publish` stored a pointer to an `F` beside this function, and `run` returns, which ends the
            // life of that `F`, only once every task that was taken is done.
            let work = unsafe { &*work.cast::<F>() };
            work(task);
        }
        self.done.store(0, Ordering::Relaxed);
        self.work.store(std::ptr::from_ref(work).cast_mut().cast(), Ordering::Relaxed);
        self.call.store(call::<F> as Call as *mut (), Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.state.store(number << 32 | (tasks as u64) << 16, Ordering::Release);
    }

    /// Takes tasks and does them until none is left.
    fn take_tasks(&self) {
        loop {
            let state = self.state.load(Ordering::Acquire);
            let (tasks, taken) = (state >> 16 & 0xffff, state & 0xffff);
            if taken == tasks {
                return;
            }
            let work = self.work.load(Ordering::Relaxed);
            let call = self.call.load(Ordering::Relaxed);
            if self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: `call` was stored by `publish` as a `Call`. That it and `work` belong to the piece that the
            // task was taken of: they are replaced only after the last task of a piece is taken and done, and when the
            // exchange succeeded a task of it was still to be taken, later than both were read.
            let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
            // SAFETY: as above, `work` is what `call` was made for, and alive until `done` counts this task.
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| unsafe { call(work, taken as usize) }));
            if let Err(panic) = outcome {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    fn wait(&self, tasks: usize) {
        let mut looks = 0_u32;
        while self.done.load(Ordering::Acquire) < tasks {
            looks += 1;
            if looks < SPINS {
                hint::spin_loop();
            } else {
                // Whoever has the last task may be waiting for this processor.
                thread::yield_now();
            }
        }
    }

    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            let mut looks = 0_u32;
            while self.state.load(Ordering::Relaxed) >> 32 == seen {
                if self.closed.load(Ordering::Relaxed) {
                    return;
                }
                looks += 1;
                if looks < SPINS {
                    hint::spin_loop();
                } else if looks < SPINS + YIELDS {
                    thread::yield_now();
                } else {
                    self.sleep(index, seen);
                }
            }
            seen = self.state.load(Ordering::Relaxed) >> 32;
            self.take_tasks();
        }
    }

    fn sleep(&self, index: usize, seen: u64) {
        self.asleep.fetch_or(1 << index, Ordering::SeqCst);
        // Its pair is in `Pool::wake`: either this sees the new work or that sees who sleeps.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) >> 32 == seen && !self.closed.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.fetch_and(!(1 << index), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(threads: usize, tasks: usize) {
        let pool = Pool::new(threads);
        let calls: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        for round in 1..=50 {
            pool.run(tasks, |task| {
                calls[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == round));
        }
    }

    #[test]
    fn every_task_is_done_once_and_before_the_work_is_over() {
        for threads in [1, 2, 3, 8] {
            for tasks in [0, 1, 2, 7, 1000] {
                check(threads, tasks);
            }
        }
    }

    #[test]
    fn threads_that_slept_wake_for_work() {
        let pool = Pool::new(3);
        for _ in 0..3 {
            let done = AtomicUsize::new(0);
            pool.run(100, |_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 100);
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn several_may_bring_work_at_once() {
        let pool = Pool::new(2);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let done = AtomicUsize::new(0);
                        pool.run(9, |_| {
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(done.load(Ordering::Relaxed), 9);
                    }
                });
            }
        });
    }

    /// Brings work that nobody waits for, beside `others` threads that bring their own until it is done.
    fn check_beside(threads: usize, others: usize, tasks: usize) {
        let pool = Pool::new(threads);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..others {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let done = AtomicUsize::new(0);
                        pool.run(5, |_| {
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(done.load(Ordering::Relaxed), 5);
                    }
                });
            }
            let calls: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for round in 1..=3 {
                pool.run_beside(tasks, |task| {
                    calls[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == round));
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn work_that_nobody_waits_for_is_done_once_whoever_brings_more() {
        for threads in [1, 2, 3] {
            for others in [0, 1, 2] {
                check_beside(threads, others, 0);
                check_beside(threads, others, 100);
            }
        }
    }

    #[test]
    fn work_that_nobody_waits_for_holds_nobody_up() {
        let pool = Pool::new(2);
        let over = AtomicBool::new(false);
        let tasks = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Endless for as long as the other has not had its turns.
                while !over.load(Ordering::Relaxed) {
                    pool.run_beside(16, |_| {
                        tasks.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(1));
                    });
                }
            });
            for _ in 0..50 {
                let before = tasks.load(Ordering::Relaxed);
                pool.run(4, |_| ());
                // A piece that was under way, and what two threads of a busy machine may do beside it.
                assert!(tasks.load(Ordering::Relaxed) - before <= 16, "it waited for more than a piece");
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_panic_reaches_who_brought_the_work_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| pool.run(8, |task| assert_ne!(task, 5))));
        assert!(outcome.is_err());
        check(2, 8);
        pool.run(3, |_| ());
    }
}
