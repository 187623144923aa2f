//! Each word's races: in every schedule under loom, in one without it.

use super::*;
use crate::sync::Arc;

#[cfg(loom)]
use loom::thread;
#[cfg(not(loom))]
use std::thread;

/// All schedules with so many preemptions.
#[cfg(loom)]
fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 100_000;
    model.check(scenario);
}

#[cfg(not(loom))]
fn model(_: usize, scenario: impl Fn()) {
    scenario();
}

struct Subject {
    history: History,
    account: Account,
}

const START: u64 = 1 << 49;

/// Two places, so that the ring goes round all the time. What is charged at a stamp counts for `reach` more.
fn subject(reach: u64) -> Arc<Subject> {
    let extent = Extent { span: 1, reach };
    Arc::new(Subject {
        history: History::new(2, extent, START),
        account: Account::new(START, 0),
    })
}

/// A limit at which a stamp is ten ticks, from stamp 1 on.
fn line(windows: Windows, burst: u64) -> Line {
    let rate = super::super::line::Rate::new(1, 5).unwrap();
    let half_a_nanosecond = crate::clock::Scale { ns: 1 << 43 };
    let mut line = Line::new(rate, half_a_nanosecond, burst, false, 10, 1);
    line.windows = Some(windows);
    line
}

impl Subject {
    fn used(&self, stamp: u64) -> i64 {
        self.history.count(&self.account, stamp).total
    }

    /// Charges `cost` at `stamp` or later if no more than `limit` counts then. Says at which stamp.
    fn take(&self, stamp: u64, cost: u64, limit: i64) -> Option<u64> {
        loop {
            let count = self.history.count(&self.account, stamp);
            if count.total + cost as i64 > limit {
                return None;
            }
            let view = View::of_window(count.word, 0, count.stamp);
            self.history.open(&self.account, count.stamp);
            if self.account.charge_at(&view, cost, None).is_ok() {
                return Some(count.stamp);
            }
        }
    }

    fn put(&self, stamp: u64, cost: u64) {
        assert_eq!(self.take(stamp, cost, i64::MAX), Some(stamp));
    }
}

fn spawn<T: Send + 'static>(
    subject: &Arc<Subject>,
    task: impl FnOnce(&Subject) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let subject = subject.clone();
    thread::spawn(move || task(&subject))
}

/// Somebody charges the last window while somebody else turns to the next one.
#[test]
fn a_late_writer_meets_a_rotation() {
    model(3, || {
        let subject = subject(0);
        subject.put(1, 1);
        let late = spawn(&subject, |subject| subject.take(1, 1, 2));
        let next = subject.take(2, 2, 2);
        let late = late.join().unwrap();
        let at_2 = [(next, 2), (late, 1)].into_iter();
        let at_2 = at_2.filter(|taken| taken.0 == Some(2)).map(|taken| taken.1);
        let at_2 = at_2.sum::<i64>();
        assert!(at_2 <= 2, "{at_2} at stamp 2");
        let used = subject.used(2);
        assert!((at_2..=2).contains(&used), "{used} of {at_2} are counted");
        assert!(late.is_some() || next.is_some(), "nobody has it");
    });
}

/// Two take at one stamp, and the one before is not opened when the first of them looks.
#[test]
fn openers_of_different_stamps() {
    model(2, || {
        let subject = subject(0);
        let other = spawn(&subject, |subject| {
            subject.history.open(&subject.account, 1);
            subject.take(2, 1, 1)
        });
        let mine = subject.take(2, 1, 1);
        let other = other.join().unwrap();
        assert!(mine.is_none() || other.is_none(), "two of one");
        assert!(mine.is_some() || other.is_some(), "nobody has it");
        assert_eq!(subject.used(2), 1);
    });
}

/// What is being opened in the latest one's place is not the latest yet: who took it for that would charge before the
/// start is read. (A looker that does nothing else: loom tries no other order for one that writes as well.)
#[test]
fn an_entry_that_is_being_opened_is_not_the_latest() {
    model(2, || {
        let subject = subject(0);
        let looker = spawn(&subject, |subject| subject.history.latest());
        subject.history.open(&subject.account, 1);
        subject.history.open(&subject.account, 2);
        // Here each index has the stamp of its number.
        let (latest, stamp) = looker.join().unwrap();
        assert_eq!(latest, stamp);
    });
}

/// An opener stalls while so many laps go by that the number of its own comes round again: it opens nothing any more.
/// For builds with tiny fields.
#[test]
fn an_opener_sleeps_for_a_round_of_laps() {
    model(1, || {
        let subject = subject(0);
        let last = 2 * TAG_MASK.min(15) + 1;
        let laps = spawn(&subject, move |subject| {
            (1..last).for_each(|stamp| subject.history.open(&subject.account, stamp));
            subject.put(last, 1);
        });
        subject.history.open(&subject.account, 1);
        laps.join().unwrap();
        assert_eq!(subject.used(last), 1);
    });
}

/// The same of a refund: nothing of what it belongs to is there any more.
#[test]
fn a_refund_sleeps_for_a_round_of_laps() {
    model(1, || {
        let subject = subject(0);
        subject.put(1, 1);
        // The same place with the same number of lap, after a whole round of them.
        let last = 2 * (TAG_MASK.min(15) + 1) + 1;
        let laps = spawn(&subject, move |subject| {
            (2..last).for_each(|stamp| subject.history.open(&subject.account, stamp));
            subject.put(last, 1);
        });
        subject.history.refund(1, 1);
        laps.join().unwrap();
        assert_eq!(subject.used(last), 1);
    });
}

/// A full ring joins its oldest entries while what they hold is given back: not twice.
#[test]
fn a_refund_meets_a_join() {
    model(4, || {
        let subject = subject(10);
        subject.put(1, 1);
        subject.put(2, 2);
        let opener = spawn(&subject, |s| s.history.open(&s.account, 3));
        subject.history.refund(2, 2);
        opener.join().unwrap();
        let used = subject.used(3);
        // The one that is overtaken is lost.
        assert!(used == 1 || used == 3, "{used}");
    });
}

/// A refund of the last window leaves the next one alone.
#[test]
fn a_refund_meets_a_rotation() {
    model(4, || {
        let subject = subject(0);
        subject.put(1, 2);
        let opener = spawn(&subject, |subject| subject.put(2, 3));
        subject.history.refund(1, 2);
        assert!(matches!(subject.used(1), 0 | 3));
        opener.join().unwrap();
        assert_eq!(subject.used(2), 3);
    });
}

/// A charge that is given back again never makes a window look emptier than it was.
#[test]
fn a_refund_is_not_seen_without_its_charge() {
    model(4, || {
        let subject = subject(0);
        subject.put(1, 1);
        // The one who looks is the second thread, and changes nothing; see account.rs.
        let looker = spawn(&subject, |subject| assert!(subject.used(1) >= 1));
        subject.put(1, 1);
        subject.history.refund(1, 1);
        looker.join().unwrap();
        assert_eq!(subject.used(1), 1);
    });
}

/// Whoever looks by an older clock after something was forgotten knows that it was.
#[test]
fn what_is_forgotten_is_not_missed() {
    model(4, || {
        let subject = subject(1);
        subject.put(1, 1);
        subject.put(2, 2);
        let looker = spawn(&subject, |subject| {
            let count = subject.history.count(&subject.account, 2);
            assert!((count.stamp, count.total) == (2, 3) || (count.stamp, count.total) == (3, 2));
        });
        assert_eq!(subject.used(3), 2);
        looker.join().unwrap();
    });
}

/// A full ring joins its oldest entries under the eyes of somebody who counts.
#[test]
fn a_join_is_not_seen_halfway() {
    model(4, || {
        let subject = subject(10);
        subject.put(1, 1);
        subject.put(2, 2);
        let looker = spawn(&subject, |subject| assert_eq!(subject.used(3), 3));
        subject.history.open(&subject.account, 3);
        looker.join().unwrap();
        assert_eq!(subject.used(11), 3);
        assert_eq!(subject.used(12), 3, "joined, so as long as the younger");
        assert_eq!(subject.used(13), 0);
    });
}

/// Whoever counts while the place of a forgotten entry is taken for the next one does not count what was forgotten.
#[test]
fn a_place_changes_hands() {
    model(4, || {
        let subject = subject(0);
        subject.put(1, 5);
        subject.history.open(&subject.account, 2);
        let looker = spawn(&subject, |subject| assert_eq!(subject.used(2), 0));
        subject.history.open(&subject.account, 3);
        looker.join().unwrap();
        assert_eq!(subject.used(3), 0);
    });
}

/// Two make room, and only one sees that the oldest entry counts no more: it is not joined to the next one then.
#[test]
fn nothing_is_joined_that_was_forgotten() {
    model(4, || {
        let subject = subject(1);
        subject.put(1, 5);
        subject.history.open(&subject.account, 2);
        let other = spawn(&subject, |s| s.history.open(&s.account, 3));
        subject.history.open(&subject.account, 3);
        other.join().unwrap();
        assert_eq!(subject.used(3), 0);
    });
}

/// What is used of the next window counts in full for a clock that is not there yet.
#[test]
fn an_older_clock_does_not_weigh_the_next_window() {
    model(0, || {
        // Nothing is forgotten, so only the entry tells.
        let subject = subject(2);
        let line = line(Windows::Sliding, 10);
        subject.put(2, 10);
        let late = subject.history.view(&subject.account, &line, 19);
        assert_eq!((late.stamp, late.balance), (2, 0));
        let due = subject.history.earliest(&subject.account, &line, 19, 0, 1);
        assert_eq!(due, 31, "a tenth of the next window is over");
    });
}

/// A charge may count in a later window than it is refunded in: then that window is not below nothing.
#[test]
fn a_charge_that_counts_later_is_refunded() {
    model(0, || {
        let subject = subject(1);
        let line = line(Windows::Sliding, 10);
        let view = subject.history.view(&subject.account, &line, 19);
        subject.history.open(&subject.account, 1);
        subject.history.open(&subject.account, 2);
        subject.account.charge_at(&view, 5, None).unwrap();
        subject.history.refund(1, 5);
        let view = subject.history.view(&subject.account, &line, 25);
        assert_eq!(view.balance, 10);
        let view = subject.history.view(&subject.account, &line, 35);
        assert_eq!(view.balance, 10 - 3, "half of it, rounded up");
    });
}
