//! A timer that costs nothing while deadlines only move away: a request's timeout is set anew for every request, but
//! the runtime's timer is armed again only when the deadline comes nearer, or was passed by an old alarm.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep};

/// One connection's (or stream's) timer.
#[derive(Debug, Default)]
pub struct LazyTimer {
    alarm: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl LazyTimer {
    /// Sets or clears the deadline.
    pub fn set(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ready when the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                self.deadline = None;
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test]
    async fn an_old_alarm_does_not_end_a_later_deadline() {
        let (mut timer, start) = (LazyTimer::default(), Instant::now());
        timer.set(Some(start + Duration::from_millis(10)));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.set(Some(start + Duration::from_millis(60)));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!(start.elapsed() >= Duration::from_millis(60));
        timer.set(Some(start + Duration::from_secs(1000)));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.set(Some(start + Duration::from_millis(90)));
        poll_fn(|cx| timer.poll(cx)).await;
        assert!(start.elapsed() < Duration::from_secs(500));
    }
}
