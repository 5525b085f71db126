//! The thread that owns the model, and what handlers hold of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use burn_gpt_oss::{Event, GptOssError, Request, Scheduler, SchedulerStats};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::error::ApiError;

type Submission = (Vec<Request>, oneshot::Sender<Result<(), GptOssError>>);

/// Takes requests. The thread ends when all copies are gone and everything is generated.
#[derive(Clone)]
pub struct Engine {
    requests: Sender<Submission>,
    stats: Arc<Mutex<SchedulerStats>>,
}

/// A request that was accepted. Dropped, it is cancelled.
pub struct Ticket {
    pub events: UnboundedReceiver<Event>,
    pub submitted: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Engine {
    pub fn start(scheduler: Scheduler) -> (Self, JoinHandle<()>) {
        let (requests, submitted) = channel();
        let stats = Arc::new(Mutex::new(scheduler.stats()));
        let shared = stats.clone();
        let thread = std::thread::spawn(move || run(scheduler, &submitted, &shared));
        (Self { requests, stats }, thread)
    }

    pub fn stats(&self) -> SchedulerStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands requests over, all or none; their sinks are replaced by those of the tickets.
    pub async fn submit(&self, mut requests: Vec<Request>) -> Result<Vec<Ticket>, ApiError> {
        let tickets = requests.iter_mut().map(Ticket::of).collect();
        let gone = || ApiError::internal("The model is not running any more.");
        let (answer, accepted) = oneshot::channel();
        self.requests.send((requests, answer)).map_err(|_| gone())?;
        accepted.await.map_err(|_| gone())??;
        Ok(tickets)
    }
}

impl Ticket {
    fn of(request: &mut Request) -> Self {
        let (sender, events) = unbounded_channel();
        request.sink = Box::new(move |event| {
            // Nobody listens any more: the flag says so, too.
            let _ = sender.send(event);
        });
        Self {
            events,
            submitted: Instant::now(),
            cancelled: request.cancelled.clone(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

fn run(mut scheduler: Scheduler, submitted: &Receiver<Submission>, stats: &Mutex<SchedulerStats>) {
    loop {
        let next = match scheduler.is_busy() {
            true => submitted.try_recv(),
            // Nothing to do but to wait.
            false => submitted.recv().map_err(|_| TryRecvError::Disconnected),
        };
        match next {
            Ok((requests, answer)) => {
                let _ = answer.send(scheduler.submit_all(requests));
            }
            Err(TryRecvError::Disconnected) if !scheduler.is_busy() => return,
            Err(_) => {
                // A fault of one step is told to the requests it concerns; others are served.
                if catch_unwind(AssertUnwindSafe(|| scheduler.step())).is_err() {
                    scheduler.reset("a computation failed");
                }
            }
        }
        *stats.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.stats();
    }
}
