//! Chains of limiters: all levels or none, one queue at a time, the shared one last.

use llmrl::feedback::read_answer;
use llmrl::{
    Chain, ChainProgress, ChainRefused, ChainTicket, Clock, Cost, Limit, Limiter, ManualClock,
    Refused,
};
use std::time::{Duration, SystemTime};

const SECOND: Duration = Duration::from_secs(1);

fn limiter(clock: &ManualClock, limits: &[Limit]) -> Limiter {
    let builder = limits
        .iter()
        .fold(Limiter::builder(), |builder, limit| builder.limit(*limit));
    builder
        .clock(Clock::from(clock))
        .max_waiters(8)
        .build()
        .unwrap()
}

/// So many a second, with so many at the start.
fn tokens(n: u64) -> Limit {
    Limit::tokens(n).per(SECOND)
}

fn cost(n: u64) -> Cost {
    Cost::tokens(n, 0)
}

fn available(limiter: &Limiter) -> i64 {
    limiter.limit_state(0).unwrap().available
}

fn pending(ticket: &mut ChainTicket<'_>) -> Option<Duration> {
    match ticket.poll() {
        ChainProgress::Pending { wait } => wait,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_names_level_and_limit_and_takes_nothing() {
    let clock = ManualClock::new(0);
    let user = limiter(&clock, &[tokens(1_000)]);
    let team = limiter(&clock, &[Limit::in_flight(1), tokens(500)]);
    let provider = limiter(&clock, &[tokens(2_000)]);
    let chain = Chain::new(&[&user, &team, &provider]).unwrap();
    let permit = chain.try_acquire(&cost(400)).unwrap();
    let refused = chain.try_acquire(&cost(1)).unwrap_err();
    // The only slot: no time is known.
    let expected = (1, Some(0), Refused::NotNow { wait: None });
    assert_eq!((refused.level, refused.limit, refused.refused), expected);
    permit.release();
    // Half a second at the user's, 0.6 at the team's.
    let wait = Some(Duration::from_millis(600));
    let refused = chain.try_acquire(&cost(400)).unwrap_err();
    assert_eq!(
        (refused.level, refused.limit, refused.refused),
        (1, Some(1), Refused::NotNow { wait })
    );
    assert!(
        refused.to_string().starts_with("level 1, limit 1: "),
        "{refused}"
    );
    clock.advance(Duration::from_millis(600) - Duration::from_nanos(1));
    assert!(chain.try_acquire(&cost(400)).is_err());
    clock.advance(Duration::from_nanos(1));
    chain.try_acquire(&cost(400)).unwrap().cancel();
    let never = chain.try_acquire(&cost(501)).unwrap_err();
    assert_eq!((never.level, never.limit), (1, Some(1)));
    assert!(matches!(never.refused, Refused::Never { burst: 500, .. }));
    assert_eq!((available(&user), available(&provider)), (1_000, 2_000));
    provider.close();
    let closed = chain.acquire(&cost(1), None).unwrap_err();
    assert_eq!((closed.level, closed.refused), (2, Refused::Closed));
    assert!(Chain::new(&[]).is_err() && Chain::new(&[&user; 9]).is_err());
}

#[test]
fn the_shared_level_is_charged_last() {
    let clock = ManualClock::new(0);
    let user = limiter(&clock, &[tokens(100)]);
    let other = limiter(&clock, &[tokens(100)]);
    let provider = limiter(&clock, &[tokens(150)]);
    let chain = Chain::new(&[&user, &provider]).unwrap();
    chain.try_acquire(&cost(100)).unwrap().release();
    let mut waits = chain.enqueue(&cost(50), None, 1).unwrap();
    // At the user's: others may use the provider meanwhile.
    assert_eq!(pending(&mut waits), Some(SECOND / 2));
    assert_eq!(available(&provider), 50);
    Chain::new(&[&other, &provider])
        .unwrap()
        .try_acquire(&cost(50))
        .unwrap()
        .release();
    clock.advance(SECOND / 2);
    // 75 have come back, so it passes both.
    let ChainProgress::Held(permit) = waits.poll() else {
        panic!()
    };
    assert_eq!(available(&provider), 25);
    permit.cancel();
    assert!(matches!(waits.poll(), ChainProgress::Spent));
}

#[test]
fn whoever_leaves_gives_back_what_it_holds() {
    let clock = ManualClock::new(0);
    let user = limiter(&clock, &[Limit::in_flight(1), tokens(1_000)]);
    let provider = limiter(&clock, &[tokens(100)]);
    let chain = Chain::new(&[&user, &provider]).unwrap();
    provider.charge(&cost(100)).unwrap();
    let mut waits = chain.enqueue(&cost(50), None, 1).unwrap();
    assert_eq!(pending(&mut waits), Some(SECOND / 2));
    assert_eq!((user.stats().in_flight, provider.stats().waiting), (1, 1));
    drop(waits);
    assert_eq!((user.stats().in_flight, provider.stats().waiting), (0, 0));
    assert_eq!(user.limit_state(1).unwrap().available, 1_000);
    // In time at the user's; not at the provider's, which is known beforehand, and nothing is taken.
    let late = chain.enqueue(&cost(50), Some(SECOND / 4), 1).unwrap_err();
    assert_eq!((late.level, late.refused), (1, Refused::Deadline));
    let mut waits = chain.enqueue(&cost(50), Some(SECOND), 1).unwrap();
    assert_eq!(pending(&mut waits), Some(SECOND / 2));
    provider.charge(&cost(1_000)).unwrap();
    clock.advance(SECOND);
    clock.advance(Duration::from_nanos(1));
    let ChainProgress::Ended(ChainRefused {
        level: 1,
        refused: Refused::Deadline,
        ..
    }) = waits.poll()
    else {
        panic!()
    };
    assert_eq!(user.stats().in_flight, 0);
    assert_eq!(user.limit_state(1).unwrap().available, 1_000);
}

#[test]
fn a_permit_is_settled_at_every_level_and_the_last_one_learns() {
    let clock = ManualClock::new(0);
    let user = limiter(&clock, &[tokens(1_000)]);
    let provider = limiter(&clock, &[tokens(2_000)]);
    let chain = Chain::new(&[&user, &provider]).unwrap();
    let mut permit = chain.acquire(&cost(600), Some(SECOND)).unwrap();
    permit.adjust(&cost(500)).unwrap();
    assert_eq!((available(&user), available(&provider)), (500, 1_500));
    permit.settle(&cost(100)).unwrap();
    assert_eq!((available(&user), available(&provider)), (900, 1_900));
    let mut permit = chain.try_acquire(&cost(600)).unwrap();
    let body = br#"{"error": {"type": "tokens"}}"#;
    let advice = permit.feedback(&read_answer(
        429,
        [("retry-after-ms", "2500")],
        body,
        SystemTime::now(),
    ));
    permit.release();
    assert!(advice.retry);
    assert_eq!(available(&user), 900);
    assert!(available(&provider) < 0);
}
