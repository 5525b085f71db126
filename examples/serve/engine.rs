//! The thread that owns the model, and what handlers hold of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use burn_gpt_oss::{Event, GptOssError, Request, Scheduler, SchedulerStats};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::error::ApiError;

type Submission = (Box<Request>, oneshot::Sender<Result<(), GptOssError>>);

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

    /// Hands a request over; its sink and its flag are replaced by those of the ticket.
    pub async fn submit(&self, mut request: Request) -> Result<Ticket, ApiError> {
        let (sender, events) = unbounded_channel();
        let cancelled = request.cancelled.clone();
        request.sink = Box::new(move |event| {
            // Nobody listens any more: the flag says so, too.
            let _ = sender.send(event);
        });
        let ticket = Ticket {
            events,
            submitted: Instant::now(),
            cancelled,
        };
        let gone = || ApiError::internal("The model is not running any more.");
        let (answer, accepted) = oneshot::channel();
        self.requests
            .send((Box::new(request), answer))
            .map_err(|_| gone())?;
        accepted.await.map_err(|_| gone())??;
        Ok(ticket)
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
            Ok((request, answer)) => {
                let _ = answer.send(scheduler.submit(*request));
            }
            Err(TryRecvError::Disconnected) if !scheduler.is_busy() => return,
            Err(_) => scheduler.step(),
        }
        *stats.lock().unwrap_or_else(PoisonError::into_inner) = scheduler.stats();
    }
}
