//! Deadlines without a timer for each request: open requests and connections stand in tables that one sweep walks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// How often the sweep looks; deadlines are late by at most this.
pub(crate) const SWEEP: Duration = Duration::from_millis(20);

/// Why something that was waiting must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// No answer in time.
    Timeout,
    /// The arm lost its weight and its time to finish is over.
    Drained,
    /// A connection was without a request for too long.
    Idle,
    /// The process hands over or ends: finish what is open and close.
    Leaving,
}

/// When the open requests of one arm must be over; shared by all of them.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    at: Cell<Option<Instant>>,
}

impl Drain {
    pub(crate) fn start(&self, at: Instant) {
        if self.at.get().is_none() {
            self.at.set(Some(at));
        }
    }

    pub(crate) fn cancel(&self) {
        self.at.set(None);
    }
}

#[derive(Debug)]
struct Entry {
    deadline: Option<(Instant, Cut)>,
    drain: Option<Rc<Drain>>,
    cut: Option<Cut>,
    waker: Option<Waker>,
}

/// Waiting things of one worker, by key.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    entries: RefCell<Vec<Option<Entry>>>,
    free: RefCell<Vec<usize>>,
}

impl Waits {
    pub(crate) fn enter(self: &Rc<Self>, drain: Option<Rc<Drain>>) -> Wait {
        let entry = Some(Entry { deadline: None, drain, cut: None, waker: None });
        let mut entries = self.entries.borrow_mut();
        let key = match self.free.borrow_mut().pop() {
            Some(key) => {
                entries[key] = entry;
                key
            }
            None => {
                entries.push(entry);
                entries.len() - 1
            }
        };
        Wait { all: self.clone(), key }
    }

    /// Marks and wakes whatever is over.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut woken = Vec::new();
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            let late = entry.deadline.filter(|(at, _)| *at <= now).map(|(_, cut)| cut);
            let drained = entry.drain.as_ref().and_then(|d| d.at.get()).filter(|at| *at <= now);
            if let Some(cut) = late.or(drained.map(|_| Cut::Drained))
                && entry.cut.is_none()
            {
                entry.cut = Some(cut);
                woken.extend(entry.waker.take());
            }
        }
        // Outside of the borrow, because a waker may run code of its own.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Cuts everything now.
    pub(crate) fn cut_all(&self, cut: Cut) {
        let mut woken = Vec::new();
        for entry in self.entries.borrow_mut().iter_mut().flatten() {
            entry.cut = Some(cut);
            woken.extend(entry.waker.take());
        }
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len() - self.free.borrow().len()
    }
}

/// One place in [`Waits`]; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    all: Rc<Waits>,
    key: usize,
}

impl Wait {
    fn with<T>(&self, change: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.all.entries.borrow_mut();
        change(entries[self.key].as_mut().expect("an entry lives as long as its guard"))
    }

    /// The thing must be over by then.
    pub(crate) fn until(&self, deadline: Option<(Instant, Cut)>) {
        self.with(|e| e.deadline = deadline);
    }

    /// Whether the thing was cut; else the task is woken when it is.
    #[inline]
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Option<Cut> {
        self.with(|e| {
            if e.cut.is_none() && !e.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                e.waker = Some(cx.waker().clone());
            }
            e.cut
        })
    }

    /// Forgets a cut that was acted on, so that a later one is seen.
    pub(crate) fn clear(&self) {
        self.with(|e| e.cut = None);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.all.entries.borrow_mut()[self.key] = None;
        self.all.free.borrow_mut().push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(wait: &Wait) -> Option<Cut> {
        wait.poll_cut(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn deadlines_and_drains_cut_in_their_time() {
        let all = Rc::new(Waits::default());
        let drain = Rc::new(Drain::default());
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let answer = all.enter(None);
        let body = all.enter(Some(drain.clone()));
        answer.until(Some((start + second, Cut::Timeout)));
        all.sweep(start);
        assert_eq!((cut(&answer), cut(&body)), (None, None));
        drain.start(start + 2 * second);
        drain.start(start); // A drain that has begun keeps its first deadline.
        all.sweep(start + second);
        assert_eq!((cut(&answer), cut(&body)), (Some(Cut::Timeout), None));
        all.sweep(start + 2 * second);
        assert_eq!(cut(&body), Some(Cut::Drained));
    }

    #[test]
    fn places_are_used_again() {
        let all = Rc::new(Waits::default());
        let first = all.enter(None);
        all.cut_all(Cut::Leaving);
        drop(first);
        let second = all.enter(None);
        assert_eq!((cut(&second), all.len(), all.entries.borrow().len()), (None, 1, 1));
    }
}
