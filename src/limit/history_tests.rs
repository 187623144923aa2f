//! Races at the ring of a history, in every order.

use super::*;
use crate::sync::Arc;

fn charge(history: &History, account: &Account, stamp: u64, amount: u64) {
    history.open(account, stamp);
    let view = View::of_window(account.word(), 0, stamp);
    account.charge_at(&view, amount, None).unwrap();
}

/// A full ring joins its two oldest entries while something is given back to the younger of them.
#[test]
fn a_refund_counts_once() {
    loom::model(|| {
        let reach = Extent { span: 10, reach: 9 };
        let history = Arc::new(History::new(2, reach, 1 << 49));
        let account = Arc::new(Account::new(1 << 49, 0));
        charge(&history, &account, 101, 4);
        charge(&history, &account, 102, 2);
        let joins = {
            let (history, account) = (history.clone(), account.clone());
            loom::thread::spawn(move || charge(&history, &account, 103, 1))
        };
        history.refund(102, 2);
        joins.join().unwrap();
        // A refund may be lost in the joining, but no more than it comes off.
        assert!(history.count(&account, 103).total >= 5);
    });
}
