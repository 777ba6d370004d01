//! What a call is told to do: as asked, less, half and then fail, nothing.

use std::{io, sync::Mutex};

use super::{Call, error, lock};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An input/output error; nothing is done.
    Io,
    /// No space is left; nothing is done.
    NoSpace,
    /// A write or a read takes only so many bytes, and says so.
    Short(usize),
    /// A write or a read takes half of the bytes, and says so.
    Half,
    /// Half of the bytes of a write or a sync are taken, then it fails; of anything else all is done, and it fails all
    /// the same.
    Torn,
}

/// Which syncs say yes and do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// Those of files.
    pub bytes: bool,
    /// Those of folders.
    pub names: bool,
}

impl Lies {
    /// All of them.
    pub const ALL: Lies = Lies { bytes: true, names: true };
}

/// What a call does.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Whole,
    Short(usize),
    Half,
    Torn,
}

impl Act {
    /// How many of so many bytes are taken.
    pub fn of(self, bytes: usize) -> usize {
        match self {
            Act::Whole => bytes,
            Act::Short(most) => bytes.min(most),
            // Not nothing: that would be the end of the file, or a disk that takes no byte.
            Act::Half => bytes.div_ceil(2),
            Act::Torn => bytes / 2,
        }
    }

    pub fn fails(self) -> bool {
        matches!(self, Act::Torn)
    }

    /// What is answered when it is done.
    pub fn done<T>(self, value: T) -> io::Result<T> {
        if self.fails() { Err(error("input/output error half way")) } else { Ok(value) }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// The faults to come.
#[derive(Default)]
pub(super) struct Faults {
    /// By kind: how many calls until then.
    kinds: Vec<(Call, u64, Fault)>,
    /// By number, of all calls.
    nth: Option<(u64, Fault)>,
    delayed: Option<(u64, Hook)>,
    /// The call that was delayed.
    waited: Option<u64>,
    calls: u64,
    met: Option<Call>,
}

impl Faults {
    pub fn fail(&mut self, call: Call, nth: u64, fault: Fault) {
        self.kinds.push((call, nth.max(1), fault));
    }

    pub fn fail_call(&mut self, nth: u64, fault: Fault) {
        self.nth = Some((nth, fault));
    }

    pub fn delay_call(&mut self, nth: u64, hook: Hook) {
        self.delayed = Some((nth, hook));
    }

    pub fn clear(&mut self) {
        (self.nth, self.delayed) = (None, None);
        self.kinds.clear();
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    pub fn met(&self) -> Option<Call> {
        self.met
    }

    /// Counts a call, and says what it does.
    pub fn act(&mut self, call: Call) -> io::Result<Act> {
        self.calls += 1;
        let mut due = None;
        self.kinds.retain_mut(|(kind, left, fault)| {
            if *kind == call {
                *left -= 1;
                if *left == 0 {
                    due = Some(*fault);
                }
            }
            *left > 0
        });
        if let Some((_, fault)) = self.nth.take_if(|(nth, _)| *nth == self.calls) {
            (due, self.met) = (Some(fault), Some(call));
        }
        if self.waited == Some(self.calls) {
            self.met = Some(call);
        }
        match due {
            None => Ok(Act::Whole),
            Some(Fault::Io) => Err(error("input/output error")),
            Some(Fault::NoSpace) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Short(bytes)) => Ok(Act::Short(bytes)),
            Some(Fault::Half) => Ok(Act::Half),
            Some(Fault::Torn) => Ok(Act::Torn),
        }
    }
}

/// Lets happen what is to happen before the call that comes, while nothing is locked.
pub(super) fn pause<S>(state: &Mutex<S>, faults: impl Fn(&mut S) -> &mut Faults) {
    let hook = {
        let mut state = lock(state);
        let faults = faults(&mut state);
        let next = faults.calls + 1;
        let hook = faults.delayed.take_if(|(nth, _)| *nth == next);
        if hook.is_some() {
            faults.waited = Some(next);
        }
        hook
    };
    if let Some((_, hook)) = hook {
        hook();
    }
}
