//! Each step of the queue against each other, and against whole operations: two threads, each of which does one of them,
//! in all schedules, with no bound on preemptions. `tests/loom.rs` has whole stories, with a bound.
//!
//! There are few enough schedules because what leads there happens before the second thread is there, and what follows when
//! it is gone. Where a whole operation has too many, it takes part with the step that is its own (a slot comes back, the
//! gate is told), and goes on when the other thread has done its part; the rest of it is a helper's steps, which have
//! models of their own.
//!
//! Each pair is explored twice, with either thread in front. Where a thread loads a word and then changes it, loom may not
//! try the change before another thread's load (<https://github.com/tokio-rs/loom/issues/166>); but the first schedule is
//! the one in which the first thread has done everything before the second one does anything.

mod scene;

use loom::thread;
use scene::{SECOND, Scene};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn explore(name: &str, prepare: fn() -> Scene, one: fn(&Scene), other: fn(&Scene)) {
    let schedules: &'static AtomicUsize = Box::leak(Box::default());
    for (first, second) in [(one, other), (other, one)] {
        loom::model(move || {
            schedules.fetch_add(1, SeqCst);
            let scene = Arc::new(prepare());
            let thread = thread::spawn({
                let scene = scene.clone();
                move || second(&scene)
            });
            first(&scene);
            thread.join().unwrap();
            scene.is_settled();
        });
    }
    let schedules = schedules.load(SeqCst);
    // Not eprintln, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "{name}: all schedules: {schedules}");
}

/// `name: where it begins => what one thread does: each of what the other one does;`
macro_rules! models {
    ($($name:ident: $scene:expr => $one:ident: $($other:ident)*;)*) => {
        $(mod $name {
            use super::*;
            $(#[test] fn $other() {
                let name = concat!(stringify!($name), "::", stringify!($other));
                explore(name, || $scene, Scene::$one, Scene::$other);
            })*
        })*
    };
}

// The steps of a helper.
models! {
    // It tells the head when that is due.
    short: Scene::queued(1, 2, None) =>
        help: help poll leave take join slot token usage paused retuned cut shrunk close tick;
    // Waiting to Granting.
    affordable: Scene::queued(1, 2, None).then(Scene::slot) =>
        help: help poll leave take join slot token usage paused retuned cut shrunk close tick;
    // The gate's decision.
    granting: Scene::queued(1, 2, None).then(Scene::slot).steps(1) =>
        help: help poll leave take join slot token usage paused retuned cut shrunk close tick;
    // Paying, telling, vacating the place, moving the head.
    granted: Scene::queued(1, 2, None).then(Scene::slot).steps(2) =>
        help: help poll leave take join slot token usage paused retuned cut shrunk close tick;
    granted_by_two_buckets: Scene::queued(2, 2, None).then(Scene::slot).steps(2) =>
        help: help token usage;
    // The queue is found to be empty.
    passed: Scene::queued(1, 2, None).then(Scene::slot).steps(3) =>
        help: help poll leave take join slot token usage paused retuned cut shrunk close tick;
    // Who has left is passed.
    left: Scene::queued(1, 2, None).head_leaves() =>
        help: help take join slot token usage paused retuned cut shrunk close tick;
    skipped: Scene::queued(1, 2, None).head_leaves().steps(1) =>
        help: help take join slot token usage paused retuned cut shrunk close tick;
    // Its time is over, while it waits and while it is granted.
    late: Scene::queued(1, 2, Some(SECOND)).late() =>
        help: help poll leave take join slot close;
    late_for_its_grant: Scene::queued(1, 2, Some(SECOND)).then(Scene::slot).steps(1).late() =>
        help: help leave take join slot close;
    expired: Scene::queued(1, 2, Some(SECOND)).late().steps(1) =>
        help: help poll leave take join slot close;
    expired_and_skipped: Scene::queued(1, 2, Some(SECOND)).late().steps(2) =>
        help: help poll leave take join slot close;
    // It costs more than the bucket holds, while it waits and while it is granted.
    too_large: Scene::queued(1, 2, None).then(Scene::cut) =>
        help: help poll leave take join retuned;
    too_large_for_its_grant: Scene::queued(1, 2, None).then(Scene::slot).steps(1).then(Scene::cut) =>
        help: help leave take join retuned;
    misfit: Scene::queued(1, 2, None).then(Scene::cut).steps(1) =>
        help: help poll leave take join retuned;
    misfit_and_skipped: Scene::queued(1, 2, None).then(Scene::cut).steps(2) =>
        help: help poll leave take join retuned;
    // One place and one slot for those who wait: they come free as the next one asks for them.
    only_one_left: Scene::queued(1, 1, None).head_leaves() => help: help claim;
    only_one_skipped: Scene::queued(1, 1, None).head_leaves().steps(1) => help: help claim;
    only_one_granted: Scene::queued(1, 1, None).then(Scene::slot).steps(2) => help: help claim join;
    only_one_passed: Scene::queued(1, 1, None).then(Scene::slot).steps(3) => poll: help claim join;
    // Somebody stands behind the head.
    head_of_two_left: Scene::two_wait().head_leaves() => help: help second_leaves;
    head_of_two_skipped: Scene::two_wait().head_leaves().steps(1) => help: help second_leaves;
    // The owner, a thread, falls asleep.
    wakes_for_a_grant: Scene::queued(1, 2, None).awake(0).then(Scene::slot).steps(2) => doze: help;
    wakes_for_an_end: Scene::queued(1, 2, Some(SECOND)).awake(0).late().steps(2) => doze: help;
    wakes_for_a_time: Scene::queued(1, 2, None).awake(0).then(Scene::slot).then(Scene::usage) => doze: help close;
    // The owner is an event loop.
    calls_for_a_grant: Scene::queued(1, 2, None).awake(1).then(Scene::slot).steps(2) => arm: help;
    calls_for_an_end: Scene::queued(1, 2, Some(SECOND)).awake(1).late().steps(2) => arm: help;
    calls_for_a_time: Scene::queued(1, 2, None).awake(1).then(Scene::slot).then(Scene::usage) => arm: help close;
}

// Whole operations.
models! {
    takes: Scene::open(1) =>
        take: take join release refund charge pause retune shrink close tick;
    takes_two: Scene::open(2) => take: take join release refund charge pause retune shrink close tick;
    joins: Scene::open(1) => join: join_first release refund charge pause retune cut shrink close tick;
    waits: Scene::queued(1, 2, None) => poll: join take slot token usage paused retuned cut shrunk close tick;
    leaves: Scene::queued(1, 2, None) => leave: join help slot token usage paused retuned cut shrunk close tick;
    charges: Scene::queued(1, 2, None) => charge: charge slot refund pause retune cut shrink close tick take join;
    refunds: Scene::queued(1, 2, None) => refund: slot pause retune cut shrink close tick take join;
    releases: Scene::queued(1, 2, None) => slot: slot paused retuned cut shrunk close tick take join;
}
