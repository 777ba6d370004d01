//! Schemas: data is judged where a source asks for it, by whoever knows them. Pure.
//!
//! An event that fails is refused, or taken in with [`MARK`], an attribute of the router's own that says what is wrong
//! and where: routes can tell such events apart by it, and its targets see it. Data and all other attributes stay as
//! they came. An event that came with that attribute keeps it where nothing is wrong with it here: another router,
//! which has other schemas, has put it there.

use std::{fmt, sync::Arc};

use schemas::{Event, Invalid};

use crate::{
    codes,
    source::{Kind, Rejection},
    store::Admitted,
};

/// The attribute of an event that was taken in though its schema refuses it: `PLACE: MESSAGE`.
pub const MARK: &str = "gocoffeeschema";

/// Who knows the schemas.
pub trait Judge: Send + Sync + 'static {
    /// What is wrong with the data of an event by its schema, the first thing first; nothing, too, where no schema
    /// judges it. Messages do not repeat values of the data. Never waits for anything.
    fn judge(&self, event: &Event) -> Vec<Invalid>;
}

/// What becomes of an event that its schema refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It is taken in, with [`MARK`].
    Warn,
    /// It is refused.
    Refuse,
}

/// What a source asks of the data of its events.
#[derive(Clone)]
pub struct Schemas {
    /// Who judges.
    pub judge: Arc<dyn Judge>,
    /// What becomes of what fails.
    pub demand: Demand,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").field("demand", &self.demand).finish_non_exhaustive()
    }
}

/// An event that was judged.
#[derive(Debug)]
pub struct Judged {
    /// The event, perhaps with [`MARK`].
    pub admitted: Admitted,
    /// Whether its schema refuses it.
    pub warned: bool,
}

impl Schemas {
    /// Judges an event that is admitted otherwise.
    ///
    /// # Errors
    /// What is wrong, where that is refused.
    pub fn judge(&self, admitted: Admitted) -> Result<Judged, Rejection> {
        let found = self.judge.judge(&admitted.event);
        let Some(first) = found.first() else { return Ok(Judged { admitted, warned: false }) };
        match self.demand {
            Demand::Warn => {
                let mark = format!("{}: {}", first.place, first.message);
                let marked = admitted.event.rebuild().set(MARK, &*mark).build();
                let event = marked.unwrap_or_else(|why| {
                    let (id, source) = (admitted.event.id(), admitted.event.source());
                    tracing::warn!(code = %codes::SCHEMA_UNMARKED, id, source, %why, "an event that its schema refuses cannot be marked, and is taken in as it is");
                    admitted.event.clone()
                });
                Ok(Judged { admitted: Admitted { event, ..admitted }, warned: true })
            }
            Demand::Refuse => {
                let others = found.iter().skip(1).map(|also| format!("; also {}: {}", also.place, also.message));
                let message = others.fold(first.message.to_string(), |all, one| all + &one);
                let Invalid { code, place, .. } = first.clone();
                Err(Rejection { code, place, message: message.into(), kind: Kind::Invalid })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Form, Place};

    use super::*;

    /// Says the same of every event of the type `bad`.
    struct Strict;

    impl Judge for Strict {
        fn judge(&self, event: &Event) -> Vec<Invalid> {
            let wrong = |at, message| Invalid::new(schemas::codes::SCHEMA_VIOLATED, Place::member(at), message);
            let all = || vec![wrong("/shop", "too small"), wrong("/order", "missing")];
            Some(all()).filter(|_| event.kind() == "bad").unwrap_or_default()
        }
    }

    fn event(kind: &'static str) -> schemas::event::Builder<'static> {
        Event::builder("1", "/s", kind).attr("subject", "x").fact("f", "1").data(Form::Json, r#"{"shop": -1.50}"#)
    }

    fn judged(demand: Demand, event: &Event) -> Result<Judged, Rejection> {
        let judge = Arc::new(Strict);
        Schemas { judge, demand }.judge(Admitted { key: 7, event: event.clone() })
    }

    #[test]
    fn a_refused_event_is_told_everything_with_the_place_of_the_first() {
        let refused = judged(Demand::Refuse, &event("bad").build().unwrap()).unwrap_err();
        assert_eq!(refused.to_string(), "data/shop: too small; also data/order: missing (schema-violated)");
        assert_eq!(refused.kind, Kind::Invalid);
        let good = event("good").build().unwrap();
        let passed = judged(Demand::Refuse, &good).unwrap();
        assert!(passed.admitted.event == good && !passed.warned);
    }

    #[test]
    fn a_warned_event_gets_the_mark_and_nothing_else_changes() {
        let plain = event("bad").build().unwrap();
        let Judged { admitted, warned } = judged(Demand::Warn, &plain).unwrap();
        assert!(warned && admitted.key == 7);
        assert_eq!(admitted.event.get(MARK).map(|v| v.to_string()).as_deref(), Some("data/shop: too small"));
        assert_eq!(admitted.event, plain.rebuild().attr(MARK, "data/shop: too small").build().unwrap());
        // What another router found stays where nothing is wrong here, and gives way where something is.
        for (kind, wanted) in [("good", "theirs"), ("bad", "data/shop: too small")] {
            let marked = event(kind).attr(MARK, "theirs").build().unwrap();
            let kept = judged(Demand::Warn, &marked).unwrap().admitted.event;
            assert_eq!(kept.get(MARK).map(|v| v.to_string()).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn an_event_without_room_for_the_mark_is_taken_in_as_it_is() {
        let names: Vec<String> = (0..96).map(|n| format!("a{n}")).collect();
        let full = names.iter().fold(event("bad"), |event, name| event.attr(name, "1"));
        let full = full.build().unwrap();
        let Judged { admitted, warned } = judged(Demand::Warn, &full).unwrap();
        assert!(warned && admitted.event == full);
    }
}
