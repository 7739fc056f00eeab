//! Supervision of background tasks: what has to run for as long as the process does.
//!
//! A task that ends or panics is restarted after a pause that doubles. One that fails again and again within a short
//! time fails the process: the supervisor says so, and `main` drains and exits with an error code.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a failed task is restarted, and when it is given up.
#[derive(Debug, Clone, Copy)]
pub struct RestartPolicy {
    /// Pause before the first restart. Doubles with each failure within the window.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// Failures that are older do not count.
    pub window: Duration,
    /// Failures within the window at which the task is given up.
    pub failures_max: usize,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
            window: Duration::from_mins(10),
            failures_max: 6,
        }
    }
}

impl RestartPolicy {
    /// The pause after so many failures within the window; none where the task is given up.
    fn pause(&self, failures: usize) -> Option<Duration> {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        (failures < self.failures_max).then(|| self.first_pause.saturating_mul(1 << doublings).min(self.longest_pause))
    }
}

/// What a supervised task does at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// It has failed and is about to be restarted.
    Restarting,
    /// It has failed too often: the process ends.
    GivenUp,
}

/// A supervised task, for the health page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStatus {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub state: TaskState,
    /// Failures within the window.
    pub failures: usize,
    /// Why it failed last, within the window.
    pub last_failure: Option<String>,
}

/// Restarts tasks and knows how they are. Clones are the same supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: RestartPolicy,
    tasks: Mutex<Vec<Task>>,
    given_up: watch::Sender<Option<&'static str>>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    state: TaskState,
    failures: VecDeque<Instant>,
    last_failure: String,
}

impl Task {
    fn fail(&mut self, now: Instant, why: &str, policy: &RestartPolicy) -> Option<Duration> {
        self.forget_old(now, policy.window);
        self.failures.push_back(now);
        why.clone_into(&mut self.last_failure);
        let pause = policy.pause(self.failures.len());
        self.state = if pause.is_some() { TaskState::Restarting } else { TaskState::GivenUp };
        pause
    }

    fn forget_old(&mut self, now: Instant, window: Duration) {
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > window) {
            self.failures.pop_front();
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new(RestartPolicy::default())
    }
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new(policy: RestartPolicy) -> Self {
        Self(Arc::new(Inner { policy, tasks: Mutex::default(), given_up: watch::Sender::new(None) }))
    }

    /// All tasks, in the order in which they were started.
    pub fn tasks(&self) -> Vec<TaskStatus> {
        let now = Instant::now();
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |task: &mut Task| {
            task.forget_old(now, self.0.policy.window);
            TaskStatus {
                name: task.name,
                state: task.state,
                failures: task.failures.len(),
                last_failure: (!task.failures.is_empty()).then(|| task.last_failure.clone()),
            }
        };
        tasks.iter_mut().map(status).collect()
    }

    /// Waits until a task has been given up; its name.
    pub async fn given_up(&self) -> &'static str {
        let mut given_up = self.0.given_up.subscribe();
        loop {
            if let Some(name) = *given_up.borrow_and_update() {
                return name;
            }
            // The sender lives as long as this supervisor.
            let _ = given_up.changed().await;
        }
    }

    /// Runs a task, again and again, until `stop` is set or it has failed too often. At `stop` it is dropped where it
    /// waits.
    pub async fn run<F, T>(self, name: &'static str, start: F, stop: CancellationToken)
    where
        F: Fn() -> T,
        T: Future<Output = ()>,
    {
        let index = self.begin(name);
        loop {
            // On the heap: some of them are large. `start` is called within, so that its panic counts too.
            let work = AssertUnwindSafe(async { Box::pin(start()).await }).catch_unwind();
            let Some(ended) = stop.run_until_cancelled(work).await else { return };
            if stop.is_cancelled() {
                return;
            }
            let why = match ended {
                Ok(()) => "it ended by itself".to_owned(),
                Err(panic) => format!("it panicked: {}", panic_message(panic.as_ref())),
            };
            let Some(pause) = self.failed(index, &why) else {
                tracing::error!(task = name, why, "a background task failed too often: the process ends");
                self.0.given_up.send_replace(Some(name));
                return;
            };
            let millis = pause.as_millis();
            tracing::error!(task = name, why, restart_in_ms = millis, "a background task failed and is restarted");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            self.change(index, |task| task.state = TaskState::Running);
        }
    }

    fn begin(&self, name: &'static str) -> usize {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(Task { name, state: TaskState::Running, failures: VecDeque::new(), last_failure: String::new() });
        tasks.len() - 1
    }

    /// Counts a failure. The pause before the next start; none if the task is given up.
    fn failed(&self, index: usize, why: &str) -> Option<Duration> {
        self.change(index, |task| task.fail(Instant::now(), why, &self.0.policy))
    }

    fn change<R>(&self, index: usize, change: impl FnOnce(&mut Task) -> R) -> R {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tasks[index])
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const QUICK: RestartPolicy = RestartPolicy {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        window: Duration::from_mins(10),
        failures_max: 6,
    };

    fn one(supervisor: &Supervisor) -> TaskStatus {
        let tasks = supervisor.tasks();
        let [task] = &tasks[..] else { panic!("one task: {tasks:?}") };
        task.clone()
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_is_restarted() {
        let (supervisor, stop) = (Supervisor::new(QUICK), CancellationToken::new());
        let (starts, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let start = {
            let (starts, running) = (starts.clone(), running.clone());
            move || {
                let (starts, running) = (starts.clone(), running.clone());
                async move {
                    match starts.fetch_add(1, Ordering::SeqCst) {
                        0 => panic!("a wire came loose"),
                        1 => {}
                        _ => {
                            running.notify_one();
                            std::future::pending::<()>().await;
                        }
                    }
                }
            }
        };
        let task = tokio::spawn(supervisor.clone().run("pump", start, stop.clone()));
        running.notified().await;
        let status = one(&supervisor);
        assert_eq!((status.name, status.state, status.failures), ("pump", TaskState::Running, 2));
        assert_eq!(status.last_failure.as_deref(), Some("it ended by itself"));
        stop.cancel();
        task.await.expect("it stops in order");
    }

    #[tokio::test]
    async fn a_task_that_keeps_failing_is_given_up() {
        let supervisor = Supervisor::new(QUICK);
        let starts = AtomicUsize::new(0);
        let start = || -> std::future::Ready<()> {
            starts.fetch_add(1, Ordering::SeqCst);
            panic!("always")
        };
        let run = supervisor.clone().run("pump", start, CancellationToken::new());
        let (name, ()) = tokio::join!(supervisor.given_up(), run);
        assert_eq!((name, starts.load(Ordering::SeqCst)), ("pump", 6));
        let status = one(&supervisor);
        assert_eq!((status.state, status.failures), (TaskState::GivenUp, 6));
        assert_eq!(status.last_failure.as_deref(), Some("it panicked: always"));
    }

    #[test]
    fn pauses_double_and_old_failures_do_not_count() {
        let policy = RestartPolicy::default();
        let mut task =
            Task { name: "pump", state: TaskState::Running, failures: VecDeque::new(), last_failure: String::new() };
        let begun = Instant::now();
        let mut fail = |seconds| task.fail(begun + Duration::from_secs(seconds), "why", &policy);
        let pauses: Vec<u128> = (0..5).map(|second| fail(second).expect("restarted").as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200]);
        // Ten minutes later the first two are forgotten.
        assert_eq!(fail(602).map(|pause| pause.as_millis()), Some(1600));
        assert_eq!(fail(602).map(|pause| pause.as_millis()), Some(3200));
        assert_eq!(fail(602), None, "six within ten minutes");
        assert_eq!(task.state, TaskState::GivenUp);
    }
}
