//! What the models have for a table, which is a well-kept library's. What is modelled is what its entries go through.

use super::entry::{Entry, Keyed};
use crate::sync::{Arc, Mutex, lock};
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<Box<[u8]>, Arc<Entry>>>);

impl Table {
    pub(super) fn find(&self, key: &[u8]) -> Option<Keyed> {
        // The lock ends before the entry is looked at.
        let entry = lock(&self.0).get(key).cloned();
        entry?.pin()
    }

    pub(super) fn insert(&self, entry: Arc<Entry>) {
        lock(&self.0).insert(entry.key.clone(), entry);
    }

    pub(super) fn remove(&self, key: &[u8]) {
        lock(&self.0).remove(key);
    }
}
