//! Interactive before batch, aging, and small requests that pass.

use super::*;

fn batch(fair: &FairQueue, key: &str, cost: u64) -> FairTicket {
    let share = share(key).batch();
    fair.enqueue(&tokens(cost), &share, None, 1).unwrap()
}

#[test]
fn interactive_goes_first_also_before_one_that_stands_in_front() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut nightly = batch(&fair, "job", 100);
    assert_eq!(wait(&mut nightly), Some(SECOND));
    hand.advance(SECOND / 2);
    let mut user = join(&fair, "user", 60);
    assert!(held(&mut user).is_none());
    hand.advance(SECOND / 10);
    assert!(held(&mut nightly).is_none());
    held(&mut user).unwrap().release();
    assert_eq!(wait(&mut nightly), Some(SECOND));
    assert_eq!(fair.stats().batch, 1);
}

#[test]
fn batch_requests_age() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new().aging(SECOND * 10));
    let mut nightly = batch(&fair, "job", 100);
    let mut users: Vec<_> = (0..30).map(|_| join(&fair, "user", 100)).collect();
    let mut served = 0;
    loop {
        hand.advance(SECOND);
        if held(&mut nightly).is_some() {
            break;
        }
        served += users.iter_mut().skip(served).map_while(held).count();
    }
    // Until it has aged nobody gives way to it; then it is the first of its key, and those have had ten.
    assert_eq!(served, 10);
    assert_eq!((fair.stats().aged, fair.stats().batch), (1, 0));
}

#[test]
fn without_aging_batch_waits_as_long_as_there_is_anything_else() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new().aging(Duration::MAX));
    let mut nightly = batch(&fair, "job", 100);
    for _ in 0..1000 {
        let mut user = join(&fair, "user", 100);
        hand.advance(SECOND);
        assert!(held(&mut nightly).is_none());
        held(&mut user).unwrap().release();
    }
    hand.advance(SECOND);
    assert!(held(&mut nightly).is_some());
}

#[test]
fn small_requests_pass_a_large_one_so_many_times() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new().passes(3));
    let mut large = join(&fair, "large", 1000);
    hand.advance(SECOND * 5);
    assert_eq!(wait(&mut large), Some(SECOND * 5));
    // 500 are there, and it needs 1000. An eighth of it is small.
    let mut small: Vec<_> = (0..5)
        .map(|n| join(&fair, &format!("small {n}"), 125))
        .collect();
    let mut more = join(&fair, "not so small", 126);
    assert!(held(&mut more).is_none());
    let mut passed: usize = small.iter_mut().filter_map(held).count();
    assert_eq!((passed, fair.stats().passed), (3, 3));
    // It gets what it would have got, later by what they took.
    hand.advance(SECOND * 875 / 100 - Duration::from_nanos(1));
    assert!(held(&mut large).is_none());
    hand.advance(Duration::from_nanos(1));
    assert!(held(&mut large).is_some());
    hand.advance(SECOND * 4);
    passed += small.iter_mut().skip(3).filter_map(held).count();
    assert_eq!((passed, fair.stats().passed), (5, 3));
    assert!(held(&mut more).is_some());
}

#[test]
fn nobody_passes_unless_told_to() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new());
    let mut large = join(&fair, "large", 1000);
    hand.advance(SECOND * 5);
    let mut small = join(&fair, "small", 1);
    assert!(held(&mut small).is_none());
    assert_eq!(wait(&mut large), Some(SECOND * 5));
}

#[test]
fn passing_does_not_push_it_behind_others_for_ever() {
    let hand = ManualClock::new(0);
    let fair = fair(&hand, FairOptions::new().passes(3));
    let mut large = join(&fair, "large", 1000);
    hand.advance(SECOND * 5);
    assert!(held(&mut large).is_none());
    // Somebody in the limiter's own queue: the small one cannot go, and the large one loses its place there, three times at most.
    let mut direct = fair.limiter().enqueue(&tokens(2000), None, 1).unwrap();
    let mut small = join(&fair, "small", 10);
    for _ in 0..10 {
        assert!(held(&mut small).is_none());
    }
    assert_eq!(fair.stats().passed, 0);
    hand.advance(SECOND * 15);
    let progress = fair.limiter().poll(&mut direct);
    assert!(matches!(progress, llmrl::Progress::Held(_)));
    assert!(held(&mut small).is_none());
    hand.advance(SECOND * 10);
    assert!(held(&mut large).is_some());
    hand.advance(SECOND / 10);
    assert!(held(&mut small).is_some());
}
