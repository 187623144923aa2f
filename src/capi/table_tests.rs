//! The table by itself: with plain numbers in it, under std and under loom.

use super::*;

type Numbers = Table<u64, u64>;

fn table(capacity: usize) -> Numbers {
    Table::new(capacity, 1).unwrap()
}

fn held(table: &Numbers, value: u64) -> u64 {
    let claim = table.insert().unwrap();
    let number = claim.number();
    claim.hold(value);
    number
}

/// Ends whatever it is.
fn end(table: &Numbers, number: u64) -> Result<u64, Unclaimed> {
    match table.claim(number, false)? {
        Claimed::Held(_ended, value) | Claimed::Waiting(_ended, value) => Ok(value),
    }
}

#[cfg(not(any(loom, shuttle)))]
mod plain {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_permit_is_on_one_cache_line() {
        use crate::limiter::{Grant, Ticket};
        let start = std::mem::offset_of!(Entry<Ticket, Grant>, content);
        assert!(start + size_of::<Grant>() <= 64);
    }

    #[test]
    fn numbers_end_once() {
        let table = table(4);
        let number = held(&table, 7);
        assert_ne!(number, 0);
        assert!(table.is_held(number));
        assert_eq!(end(&table, number), Ok(7));
        assert_eq!(end(&table, number), Err(Unclaimed::Stale));
        assert!(!table.is_held(number));
        // The entry is used again, under another number.
        let other = held(&table, 8);
        assert_eq!(index(other), index(number));
        assert_eq!(end(&table, number), Err(Unclaimed::Stale));
        assert_eq!(end(&table, other), Ok(8));
    }

    #[test]
    fn a_ticket_is_no_permit() {
        let table = table(1);
        let claim = table.insert().unwrap();
        let number = claim.number();
        assert!(claim.wait(5).is_ok());
        assert_eq!(table.claim_held(number).err(), Some(Unclaimed::Stale));
        assert!(!table.is_held(number));
        let Ok(Claimed::Waiting(claim, 5)) = table.claim(number, true) else {
            panic!("the ticket is gone");
        };
        // A poll that comes while another one is under way is made up for by that one.
        assert_eq!(table.claim(number, false).err(), Some(Unclaimed::Busy));
        assert_eq!(table.claim(number, true).err(), Some(Unclaimed::Busy));
        let Err((claim, ticket)) = claim.wait(5) else {
            panic!("a poll was missed");
        };
        assert!(claim.wait(ticket).is_ok());
        assert_eq!(end(&table, number), Ok(5));
    }

    #[test]
    fn made_up_numbers_are_stale() {
        let table = table(4);
        let number = held(&table, 7);
        for bit in 0..64 {
            assert_eq!(
                end(&table, number ^ 1 << bit),
                Err(Unclaimed::Stale),
                "bit {bit}"
            );
        }
        assert_eq!(end(&table, 0), Err(Unclaimed::Stale));
        assert_eq!(end(&table, u64::MAX), Err(Unclaimed::Stale));
        assert_eq!(end(&table, number), Ok(7));
    }

    #[test]
    fn another_limiters_numbers_are_stale() {
        let tables: Vec<Numbers> = (1..=100)
            .map(|serial| Table::new(2, serial).unwrap())
            .collect();
        let numbers: Vec<u64> = tables.iter().map(|table| held(table, 1)).collect();
        for (i, table) in tables.iter().enumerate() {
            for (j, &number) in numbers.iter().enumerate() {
                assert_eq!(table.is_held(number), i == j);
            }
        }
    }

    #[test]
    fn full_is_told_and_passes() {
        for capacity in [1, 2, 7, 64] {
            let table = table(capacity);
            let mut numbers: Vec<u64> = (0..capacity as u64).map(|n| held(&table, n)).collect();
            assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), capacity);
            assert!(table.insert().is_none());
            for round in 0..3 * capacity {
                let n = round % numbers.len();
                assert!(end(&table, numbers[n]).is_ok());
                numbers[n] = held(&table, 0);
                assert!(table.insert().is_none());
            }
        }
    }

    #[test]
    fn what_falls_off_the_chain_is_found_again() {
        let table = table(40);
        let numbers: Vec<u64> = (0..20).map(|n| held(&table, n)).collect();
        for &number in &numbers {
            end(&table, number).unwrap();
        }
        // What two threads at once can do to it.
        table.chain.store(0, Relaxed);
        let again: HashSet<u64> = (0..40).map(|n| held(&table, n)).collect();
        assert_eq!(again.len(), 40);
        assert!(table.insert().is_none());
        // A chain that leads to an entry in use.
        let number = *again.iter().next().unwrap();
        end(&table, number).unwrap();
        table
            .chain
            .store((index(number) as u32 + 1) % 40 + 1, Relaxed);
        assert!(table.insert().is_some());
    }

    #[test]
    fn a_dropped_claim_frees() {
        let table = table(1);
        let number = table.insert().unwrap().number();
        assert_eq!(end(&table, number), Err(Unclaimed::Stale));
        let claim = table.insert().unwrap();
        assert_eq!(end(&table, claim.number()), Err(Unclaimed::Busy));
    }

    #[test]
    fn generation_zero_is_skipped_and_uses_wrap() {
        let mut table = table(1);
        table.base = COUNT_MASK;
        let first = held(&table, 0);
        end(&table, first).unwrap();
        let second = held(&table, 0);
        assert_eq!((first >> INDEX_BITS, second >> INDEX_BITS), (COUNT_MASK, 1));
        end(&table, second).unwrap();
        table.entries[0].word.store(word(COUNT_MASK, FREE), Relaxed);
        let last = held(&table, 0);
        end(&table, last).unwrap();
        assert_eq!(table.entries[0].word.load(Relaxed), word(0, FREE));
    }
}

#[cfg(loom)]
mod checked {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn one_of_two_ends_it() {
        loom::model(|| {
            let table = Arc::new(table(1));
            let number = held(&table, 7);
            let other = {
                let table = Arc::clone(&table);
                // As a release does, against a cancel.
                thread::spawn(move || table.claim_held(number).map(|(_ended, value)| value))
            };
            let mine = end(&table, number);
            let theirs = other.join().unwrap();
            assert_eq!(
                mine.is_ok() as u8 + theirs.is_ok() as u8,
                1,
                "{mine:?} {theirs:?}"
            );
            assert_eq!(mine.or(theirs), Ok(7));
            assert!(table.insert().is_some());
        });
    }

    /// A number can be used by another thread as soon as it is held, before the call that gives it out has returned.
    #[test]
    fn a_permit_is_seen_whole() {
        loom::model(|| {
            let table = Arc::new(table(1));
            let claim = table.insert().unwrap();
            let number = claim.number();
            let other = {
                let table = Arc::clone(&table);
                thread::spawn(move || match table.claim_held(number) {
                    Ok((_ended, value)) => assert_eq!(value, 7),
                    Err(why) => assert_eq!(why, Unclaimed::Busy),
                })
            };
            claim.hold(7);
            other.join().unwrap();
        });
    }

    #[test]
    fn content_passes_between_threads() {
        loom::model(|| {
            let table = Arc::new(table(2));
            let worker = || {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let claim = table.insert().expect("two entries for two threads");
                    let number = claim.number();
                    claim.hold(number ^ 1);
                    assert_eq!(end(&table, number), Ok(number ^ 1));
                })
            };
            let threads = [worker(), worker()];
            for thread in threads {
                thread.join().unwrap();
            }
            // Whatever became of the chain, no entry is lost.
            let both = [table.insert(), table.insert()];
            assert!(both.iter().all(Option::is_some));
            assert!(table.insert().is_none());
        });
    }

    /// A wake can come before the call that joined the queue has returned. Its poll must not get lost: either it sees the
    /// ticket, or the joining call sees, after the poll's cause, that it was missed.
    #[test]
    fn no_poll_is_lost() {
        loom::model(|| {
            let table = Arc::new(table(1));
            let granted = Arc::new(AtomicU64::new(0));
            let claim = table.insert().unwrap();
            let number = claim.number();
            let waker = {
                let (table, granted) = (Arc::clone(&table), Arc::clone(&granted));
                thread::spawn(move || {
                    granted.store(1, Relaxed);
                    match table.claim(number, true) {
                        Ok(Claimed::Waiting(ended, _)) => drop(ended),
                        Ok(Claimed::Held(..)) => unreachable!(),
                        Err(Unclaimed::Busy) => return false,
                        Err(Unclaimed::Stale) => return false,
                    }
                    true
                })
            };
            let mut seen = false;
            let mut state = Some((claim, 5));
            while let Some((claim, ticket)) = state.take() {
                seen = granted.load(Relaxed) == 1;
                if seen {
                    break;
                }
                state = claim.wait(ticket).err();
            }
            let polled = waker.join().unwrap();
            assert!(seen || polled, "nobody has seen the grant");
        });
    }
}
