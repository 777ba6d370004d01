//! State in the memory of one process: for tests, for trials, and where no state is configured.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, If, State, Stored, Version};

/// Values that the memory keeps; past it the ones that were created first go.
pub const ENTRIES_MAX: usize = 10_000;

/// State in memory.
#[derive(Default)]
pub struct Memory(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    values: HashMap<Box<str>, Entry>,
    /// Keys in the order in which they were created; those that were removed since are passed over.
    order: VecDeque<(Box<str>, u64)>,
    /// The number of the last write.
    last: u64,
}

struct Entry {
    value: Bytes,
    created: u64,
    version: u64,
}

impl Inside {
    /// Makes room for one more.
    fn evict(&mut self) {
        while self.values.len() >= ENTRIES_MAX {
            let Some((key, created)) = self.order.pop_front() else { return };
            if self.values.get(&key).is_some_and(|entry| entry.created == created) {
                self.values.remove(&key);
            }
        }
        if self.order.len() >= 2 * ENTRIES_MAX {
            let values = &self.values;
            self.order.retain(|(key, created)| values.get(key).is_some_and(|entry| entry.created == *created));
        }
    }
}

impl Memory {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // A panic within the lock cannot come from the few lines below, and they leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(version: u64) -> Version {
    Version(version.to_string().into())
}

#[async_trait]
impl State for Memory {
    async fn get(&self, key: &str) -> Result<Option<Stored>, Error> {
        let stored = |entry: &Entry| Stored { value: entry.value.clone(), version: word(entry.version) };
        Ok(self.inside().values.get(key).map(stored))
    }

    async fn put(&self, key: &str, value: Bytes, condition: If) -> Result<Version, Error> {
        let mut inside = self.inside();
        let next = inside.last + 1;
        match (inside.values.get_mut(key), condition) {
            (Some(entry), If::Version(version)) if word(entry.version) == version => {
                entry.value = value;
                entry.version = next;
            }
            (None, If::Absent) => {
                inside.evict();
                inside.order.push_back((key.into(), next));
                inside.values.insert(key.into(), Entry { value, created: next, version: next });
            }
            _ => return Err(Error::Conflict(key.into())),
        }
        inside.last = next;
        Ok(word(next))
    }

    async fn remove(&self, key: &str, version: &Version) -> Result<(), Error> {
        let mut inside = self.inside();
        match inside.values.get(key) {
            Some(entry) if word(entry.version) == *version => {
                inside.values.remove(key);
                Ok(())
            }
            Some(_) => Err(Error::Conflict(key.into())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_memory_forgets_what_was_created_first() {
        let memory = Memory::default();
        for n in 0..=ENTRIES_MAX {
            memory.put(&n.to_string(), Bytes::new(), If::Absent).await.unwrap();
        }
        assert_eq!(memory.get("0").await.unwrap(), None);
        assert!(memory.get("1").await.unwrap().is_some());
        assert!(memory.get(&ENTRIES_MAX.to_string()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn removed_keys_leave_nothing_that_grows() {
        let memory = Memory::default();
        for n in 0..5 * ENTRIES_MAX {
            let version = memory.put(&n.to_string(), Bytes::new(), If::Absent).await.unwrap();
            memory.remove(&n.to_string(), &version).await.unwrap();
        }
        assert!(memory.inside().order.len() <= 2 * ENTRIES_MAX);
        assert!(memory.inside().values.is_empty());
    }
}
