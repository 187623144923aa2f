//! What an admission costs, as a multiple of what it cannot cost less than, in one run and one table.
//!
//! `cargo bench --bench ratios`; `README.md` has results and says how to read them. Arguments select parts:
//! `one`, `kinds`, `two` (threads), `keyed`, `waits`.

mod abi;
mod cases;
mod floor;
mod keyed;
mod kinds;
mod measure;
mod waits;

use measure::{Table, pin_to};

/// Rounds over all cases, and how long a case runs in each.
const ROUNDS: usize = 21;
const MILLISECONDS: u64 = 8;
const ROUNDS_OF_TWO: usize = 15;
const MILLISECONDS_OF_TWO: u64 = 4;

fn main() {
    // cargo passes --bench; whatever does not begin with a dash is a part.
    let parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|part| !part.starts_with('-'))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);

    println!("{}", floor::machine(measure::processors()));
    let library = abi::Library::open();
    if let Err(reason) = &library {
        println!("the C interface is not measured: {reason}");
    }
    let library = library.ok();

    if wanted("one") {
        let one = || {
            pin_to(1);
            let mut table = Table::new("1 thread", cases::all(library.as_ref()));
            table.run_one(ROUNDS, MILLISECONDS);
            table.print("ns");
        };
        std::thread::scope(|scope| scope.spawn(one).join().unwrap());
    }
    if wanted("kinds") {
        let one = || {
            pin_to(1);
            let mut cases = cases::floors();
            cases.truncate(2);
            cases.extend(kinds::all());
            let mut table = Table::new("each kind in a limiter, 1 thread", cases);
            table.run_one(ROUNDS, MILLISECONDS);
            table.print("ns");
        };
        std::thread::scope(|scope| scope.spawn(one).join().unwrap());
    }
    if wanted("two") {
        let mut table = Table::new("2 threads, one object", cases::contended(library.as_ref()));
        let quiet = table.run_two(ROUNDS_OF_TWO, MILLISECONDS_OF_TWO);
        table.print("ns per operation and thread");
        if !quiet {
            println!(
                "(the machine was busy: some cases have had fewer runs with both threads running)"
            );
        }
    }
    if wanted("keyed") {
        for (keys, one, two) in [
            (1, "1 key, 1 thread", "1 key, 2 threads"),
            (10_000, "10 000 keys, 1 thread", "10 000 keys, 2 threads"),
            (1_000_000, "10^6 keys, 1 thread", "10^6 keys, 2 threads"),
        ] {
            let alone = || {
                pin_to(1);
                let mut table = Table::new(one, keyed::all(keys));
                table.run_one(ROUNDS, MILLISECONDS);
                table.print("ns");
            };
            std::thread::scope(|scope| scope.spawn(alone).join().unwrap());
            let mut table = Table::new(two, keyed::all(keys));
            table.run_two(ROUNDS_OF_TWO, MILLISECONDS_OF_TWO);
            table.print("ns per operation and thread");
        }
    }
    if wanted("waits") {
        waits::overshoot();
        waits::wakes_per_grant();
    }
}
