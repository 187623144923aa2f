//! From a key to its entry, read without a lock, next to a writer.

use super::entry::{Entry, Keyed};
use crate::sync::Arc;
use std::hash::RandomState;

#[derive(Default)]
pub(super) struct Table(papaya::HashMap<Box<[u8]>, Arc<Entry>, RandomState>);

impl Table {
    /// None also if the entry is dead.
    pub(super) fn find(&self, key: &[u8]) -> Option<Keyed> {
        self.0.pin().get(key)?.pin()
    }

    pub(super) fn insert(&self, entry: Arc<Entry>) {
        self.0.pin().insert(entry.key.clone(), entry);
    }

    pub(super) fn remove(&self, key: &[u8]) {
        self.0.pin().remove(key);
    }
}
