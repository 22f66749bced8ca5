//! The threads of the process: parked until there is work, one team for all networks and for the rows of pictures.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

type Task = dyn Fn(usize) + Sync;

/// Tasks that belong together.
struct Job {
    number: u64,
    task: &'static Task,
    count: usize,
    /// Tasks that were handed out, and those that ended.
    begun: usize,
    ended: usize,
    /// Threads that may still join.
    seats: usize,
    panic: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    last_number: u64,
    workers: usize,
}

#[derive(Default)]
struct Team {
    state: Mutex<State>,
    /// A job came.
    work: Condvar,
    /// A job's last task ended.
    done: Condvar,
}

fn team() -> &'static Team {
    static TEAM: OnceLock<Team> = OnceLock::new();
    TEAM.get_or_init(Team::default)
}

/// Runs `task(0)` to `task(count - 1)` on at most `threads` threads, the caller among them, and returns when all have
/// ended. A panic of a task is passed on. Neither allocates nor waits while the caller itself has something to do; from
/// inside a task it works as well.
pub(crate) fn run(threads: usize, count: usize, task: &(dyn Fn(usize) + Sync)) {
    if threads <= 1 || count <= 1 {
        (0..count).for_each(task);
        return;
    }
    // SAFETY: `task` outlives the job, which `Team::finish` removes before this function returns, after every task that
    // was handed out has ended; nothing between here and there panics.
    let task: &'static Task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static Task>(task) };
    let helpers = threads.min(count) - 1;
    let team = team();
    let number = team.begin(task, count, helpers);
    while team.work_on(number) {}
    if let Some(panic) = team.finish(number) {
        resume_unwind(panic);
    }
}

/// Threads that [`share`] works on; 0 = all cores.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads share work on whole pictures; 0 = all cores.
pub fn set_threads(threads: usize) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// Cores that this process may use. Asked for once: the answer takes the system several files.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Calls `f` for every item, on several threads, each with scratch memory by `init`; a thread takes `at_a_time` items in a
/// row. Within a task of rayon's, whose other threads have work of their own, on this thread alone.
pub(crate) fn share<S, I>(items: I, at_a_time: usize, init: impl Fn() -> S + Sync, f: impl Fn(&mut S, I::Item) + Sync)
where
    I: ExactSizeIterator + Send,
    I::Item: Send,
{
    let threads = match THREADS.load(Ordering::Relaxed) {
        0 => cores(),
        threads => threads,
    };
    let threads = threads.min(items.len().div_ceil(at_a_time));
    if threads <= 1 || rayon::current_thread_index().is_some() {
        let mut scratch = init();
        return items.for_each(|item| f(&mut scratch, item));
    }
    let items = Mutex::new(items);
    run(threads, threads, &|_| {
        let (mut scratch, mut some) = (init(), Vec::with_capacity(at_a_time));
        loop {
            let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
            some.extend(items.by_ref().take(at_a_time));
            drop(items);
            if some.is_empty() {
                return;
            }
            some.drain(..).for_each(|item| f(&mut scratch, item));
        }
    });
}

impl Team {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&'static self, task: &'static Task, count: usize, helpers: usize) -> u64 {
        let mut state = self.lock();
        while state.workers < helpers {
            let name = format!("candle-{}", state.workers + 1);
            // Where no thread can be had, fewer do the work.
            if std::thread::Builder::new().name(name).spawn(|| self.serve()).is_err() {
                break;
            }
            state.workers += 1;
        }
        state.last_number += 1;
        let number = state.last_number;
        let (begun, ended, seats, panic) = (0, 0, helpers, None);
        #[rustfmt::skip]
        state.jobs.push(Job { number, task, count, begun, ended, seats, panic });
        drop(state);
        if helpers == 1 {
            self.work.notify_one();
        } else {
            self.work.notify_all();
        }
        number
    }

    /// A worker's life: joins whatever job has a seat, and sleeps when there is none.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let job = state.jobs.iter_mut().find(|job| job.seats > 0 && job.begun < job.count);
            let Some(job) = job else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            job.seats -= 1;
            let number = job.number;
            drop(state);
            while self.work_on(number) {}
            state = self.lock();
        }
    }

    /// Runs one task of a job; false when there is none left to begin.
    fn work_on(&self, number: u64) -> bool {
        let mut state = self.lock();
        let Some(job) = state
            .jobs
            .iter_mut()
            .find(|job| job.number == number && job.begun < job.count)
        else {
            return false;
        };
        let (task, index) = (job.task, job.begun);
        job.begun += 1;
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(|| task(index)));
        let mut state = self.lock();
        let job = state.jobs.iter_mut().find(|job| job.number == number);
        let job = job.expect("a job stays until all of its tasks have ended");
        job.ended += 1;
        if let Err(panic) = result {
            job.panic = Some(panic);
        }
        if job.ended == job.count {
            self.done.notify_all();
        }
        true
    }

    /// Waits for the last task and takes the job away.
    fn finish(&self, number: u64) -> Option<Box<dyn Any + Send>> {
        let mut state = self.lock();
        loop {
            let at = state.jobs.iter().position(|job| job.number == number);
            let at = at.expect("only its owner takes a job away");
            if state.jobs[at].ended == state.jobs[at].count {
                return state.jobs.swap_remove(at).panic;
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_from_many_callers_at_a_time() {
        std::thread::scope(|scope| {
            for caller in 1..6 {
                scope.spawn(move || {
                    for round in 0..200 {
                        let counts: Vec<AtomicUsize> = (0..round % 9).map(|_| AtomicUsize::new(0)).collect();
                        run(caller, counts.len(), &|i| {
                            counts[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                    }
                });
            }
        });
    }

    #[test]
    fn a_task_may_have_tasks_of_its_own() {
        let sum = AtomicUsize::new(0);
        run(3, 4, &|i| {
            run(2, 5, &|j| {
                sum.fetch_add(10 * i + j, Ordering::Relaxed);
            })
        });
        assert_eq!(sum.into_inner(), 10 * 5 * (1 + 2 + 3) + 4 * (1 + 2 + 3 + 4));
    }

    #[test]
    fn items_are_shared_out() {
        let mut squares = vec![0; 1000];
        share(
            squares.iter_mut().enumerate(),
            7,
            || 1,
            |one, (i, square)| *square += i * i * *one,
        );
        assert!(squares.iter().enumerate().all(|(i, square)| *square == i * i));
    }

    #[test]
    fn panics_are_passed_on_and_the_team_lives() {
        let panic = catch_unwind(|| run(2, 8, &|i| assert_ne!(i, 5, "the fifth")));
        let text = panic.unwrap_err();
        assert!(text.downcast_ref::<String>().unwrap().contains("the fifth"));
        run(2, 8, &|_| {});
    }
}
