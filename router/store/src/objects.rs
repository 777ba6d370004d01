//! Objects in memory: the form of [`router_core::shelf::Objects`] that can be made to fail, for tests of what is above.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use router_core::shelf::{Error, Object, Objects};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the call is let through.
    None,
    /// It fails, and nothing was done.
    Fails,
    /// It was done, and its answer is lost.
    AnswerLost,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    faults: VecDeque<Fault>,
    down: bool,
    calls: u64,
}

/// A place in memory.
#[derive(Default)]
pub struct MemoryObjects(Mutex<Inner>);

impl MemoryObjects {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next calls meet these.
    pub fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner().faults.extend(faults);
    }

    /// Whether every call fails from now on.
    pub fn down(&self, down: bool) {
        self.inner().down = down;
    }

    /// Names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.inner().objects.keys().cloned().collect()
    }

    /// Calls that were made.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Changes one bit of an object; whether there is such a byte.
    pub fn flip(&self, name: &str, at: usize) -> bool {
        let mut inner = self.inner();
        let Some(body) = inner.objects.get_mut(name) else { return false };
        let mut bytes = body.to_vec();
        let Some(byte) = bytes.get_mut(at) else { return false };
        *byte ^= 1;
        *body = bytes.into();
        true
    }

    /// Takes an object away, as a stranger would.
    pub fn take(&self, name: &str) -> bool {
        self.inner().objects.remove(name).is_some()
    }

    fn call<T>(&self, name: &str, work: impl FnOnce(&mut Inner) -> Result<T, Error>) -> Result<T, Error> {
        let failed = |why: &str| Error::Failed { place: format!("memory/{name}").into(), why: why.into() };
        let mut inner = self.inner();
        inner.calls += 1;
        if inner.down {
            return Err(failed("it is down"));
        }
        match inner.faults.pop_front().unwrap_or(Fault::None) {
            Fault::None => work(&mut inner),
            Fault::Fails => Err(failed("it failed")),
            Fault::AnswerLost => work(&mut inner).and(Err(failed("its answer was lost"))),
        }
    }
}

#[async_trait]
impl Objects for MemoryObjects {
    fn place(&self) -> &str {
        "memory"
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<(), Error> {
        self.call(name, |inner| {
            if inner.objects.contains_key(name) {
                return Err(Error::Exists { place: format!("memory/{name}").into() });
            }
            inner.objects.insert(name.into(), body);
            Ok(())
        })
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        self.call(name, |inner| {
            let place = format!("memory/{name}");
            let body = inner.objects.get(name).ok_or_else(|| Error::NotFound { place: place.as_str().into() })?;
            let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let part = range.filter(|(start, end)| start <= end && *end <= body.len());
            let why = "the range reaches beyond its end";
            let part = part.ok_or_else(|| Error::Failed { place: place.into(), why: why.into() })?;
            Ok(body.slice(part.0..part.1))
        })
    }

    async fn length(&self, name: &str) -> Result<u64, Error> {
        self.call(name, |inner| {
            let body = inner.objects.get(name).map(|body| u64::try_from(body.len()).unwrap_or(u64::MAX));
            body.ok_or_else(|| Error::NotFound { place: format!("memory/{name}").into() })
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        self.call(prefix, |inner| {
            let named = inner.objects.iter().filter(|(name, _)| name.starts_with(prefix));
            let bytes = |body: &Bytes| u64::try_from(body.len()).unwrap_or(u64::MAX);
            Ok(named.map(|(name, body)| Object { name: name.clone(), bytes: bytes(body) }).collect())
        })
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.call(name, |inner| {
            inner.objects.remove(name);
            Ok(())
        })
    }
}
