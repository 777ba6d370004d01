//! Names and numbers. A name is what an operator writes; a number is what the store gave it, once and
//! for ever, so that what is kept stays small and a renamed thing is a new thing.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 63;

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name: 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens, a letter or digit first and last"
)]
pub struct NameError(pub String);

pub(crate) fn is_name(s: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = s.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name: 1 to 63 lower-case letters, digits and hyphens.
            ///
            /// # Errors
            /// [`NameError`] when it is none.
            pub fn new(s: &str) -> Result<Self, NameError> {
                if is_name(s) { Ok(Self(s.into())) } else { Err(NameError(s.into())) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(s: String) -> Result<Self, NameError> {
                Self::new(&s)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().into()
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                Self::new(s)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A bus: a named, durable, ordered log of events.
    BusName
);
name!(
    /// A source: where events come in.
    SourceName
);
name!(
    /// A route: a filter, a target, a retry policy.
    RouteName
);
name!(
    /// A target: where events go.
    TargetName
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A place in the log of one bus. Offsets rise; gaps are legal; the first is 1 or more.
    Offset(u64)
);
number!(
    /// The number of a bus in its store.
    BusId(u16)
);
number!(
    /// The number of a route in its store; never given twice.
    RouteId(u32)
);
number!(
    /// A run: 0 is the live flow, each replay gets its own.
    RunId(u32)
);
number!(
    /// Drawn at random when a store is created, and by `gocoffee recover`: tells one history from another.
    Epoch(u64)
);

number!(
    /// The hash of what an event has in the attribute that its route orders by. Two values of one hash are
    /// one key: they are ordered among each other too, which costs a little speed and nothing else.
    OrderKey(u64)
);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

impl RouteId {
    /// What to call a route that has no name.
    pub fn nameless(self) -> RouteName {
        RouteName(format!("nameless-{self}").into())
    }
}

/// One route on one bus in one run: what drains independently of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneId {
    /// The bus.
    pub bus: BusId,
    /// The route.
    pub route: RouteId,
    /// The run.
    pub run: RunId,
}

/// One event owed to one route in one run. It is the idempotency key of all attempts, and on the wire
/// reads `EPOCH-BUS-OFFSET-ROUTE-RUN`, the epoch in 16 hexadecimal digits, the rest decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The history of the store that the offset belongs to.
    pub epoch: Epoch,
    /// To whom it is owed.
    pub lane: LaneId,
    /// Which event.
    pub offset: Offset,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LaneId { bus, route, run } = self.lane;
        write!(f, "{:016x}-{bus}-{}-{route}-{run}", self.epoch.0, self.offset)
    }
}

/// Text that is no [`DeliveryId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no delivery id: EPOCH-BUS-OFFSET-ROUTE-RUN, e.g. 00c0ffee00c0ffee-0-17-2-0")]
pub struct DeliveryIdError(pub String);

impl FromStr for DeliveryId {
    type Err = DeliveryIdError;

    fn from_str(s: &str) -> Result<Self, DeliveryIdError> {
        let read = || {
            let mut parts = s.split('-');
            let epoch = parts.next().filter(|p| p.len() == 16).and_then(|p| u64::from_str_radix(p, 16).ok())?;
            let bus = parts.next()?.parse().ok()?;
            let offset = parts.next()?.parse().ok()?;
            let route = parts.next()?.parse().ok()?;
            let run = parts.next()?.parse().ok()?;
            let lane = LaneId { bus: BusId(bus), route: RouteId(route), run: RunId(run) };
            parts.next().is_none().then_some(DeliveryId { epoch: Epoch(epoch), lane, offset: Offset(offset) })
        };
        read().ok_or_else(|| DeliveryIdError(s.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_id_reads_back_what_it_prints() {
        let lane = LaneId { bus: BusId(3), route: RouteId(70_000), run: RunId(1) };
        let id = DeliveryId { epoch: Epoch(0xC0FFEE), lane, offset: Offset(u64::MAX) };
        assert_eq!(id.to_string(), "0000000000c0ffee-3-18446744073709551615-70000-1");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "c0ffee-3-1-2-0", "0000000000c0ffee-3-1-2", "0000000000c0ffee-3-1-2-0-9", "0000000000c0ffee-3-x-2-0"]
        {
            assert!(bad.parse::<DeliveryId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_lower_case_words() {
        for good in ["a", "default", "orders-2", "0"] {
            assert!(RouteName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "ä", "a_b", &"x".repeat(64)] {
            assert!(RouteName::new(bad).is_err(), "{bad}");
        }
    }
}
