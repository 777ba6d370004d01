//! Step 5, plan: what is owed to whom. Pure.
//!
//! A route is known by its name; what it wants is versioned by offset. Each record is judged by the
//! versions valid at its offset, so a change of the configuration changes nothing about events that
//! were taken before it, however late they are planned.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    filter::{self, Filter, Matcher, Scratch, Spec},
    id::{BusId, Offset, RouteId, RouteName},
    store::{Change, Record, RouteVersion},
};

/// A route's stored filter that this program cannot read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("route {route}, version from offset {from}: {error}")]
pub struct Error {
    /// The route.
    pub route: RouteName,
    /// Its first offset.
    pub from: Offset,
    /// What is wrong with it.
    pub error: filter::Error,
}

/// A filter as the ledger keeps it; no filter wants every event.
pub fn filter_text(spec: Option<&Spec>) -> Arc<str> {
    serde_json::to_string(&spec).unwrap_or_else(|_| "null".into()).into()
}

fn read_filter(version: &RouteVersion, text: &str) -> Result<Filter, Error> {
    let fail = |error| Error { route: version.name.clone(), from: version.from, error };
    read_filter_text(text).map_err(fail)
}

/// The filter that [`filter_text`] wrote.
///
/// # Errors
/// It is of another version of this program.
pub fn read_filter_text(text: &str) -> Result<Filter, filter::Error> {
    let spec: Option<Spec> = serde_json::from_str(text).map_err(|e| filter::Error {
        path: "filter".into(),
        message: format!("this version of gocoffee cannot read it: {e}"),
    })?;
    spec.map_or(Ok(Filter::all()), Filter::parse)
}

/// What a configured route wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The route.
    pub route: RouteId,
    /// Its name.
    pub name: RouteName,
    /// Its bus.
    pub bus: BusId,
    /// As [`filter_text`] writes it.
    pub filter: Arc<str>,
}

/// What to commit so that from each bus's `tail` on the configured routes hold and no others: new
/// versions for routes that are new, changed or gone, and the end of versions that no record at or
/// above `planned` needs.
pub fn revise(
    kept: &[RouteVersion],
    wanted: &[Wanted],
    tail: impl Fn(BusId) -> Offset,
    planned: impl Fn(BusId) -> Offset,
) -> Vec<Change> {
    let mut latest: BTreeMap<(RouteId, BusId), &RouteVersion> = BTreeMap::new();
    for version in kept {
        let newest = latest.entry((version.route, version.bus)).or_insert(version);
        if version.from >= newest.from {
            *newest = version;
        }
    }
    let mut changes = Vec::new();
    for w in wanted {
        let now = latest.get(&(w.route, w.bus)).and_then(|v| v.filter.as_ref());
        if now != Some(&w.filter) {
            let (name, from, filter) = (w.name.clone(), tail(w.bus), Some(w.filter.clone()));
            changes.push(Change::PutVersion(RouteVersion { route: w.route, name, bus: w.bus, from, filter }));
        }
    }
    let configured: HashSet<(RouteId, BusId)> = wanted.iter().map(|w| (w.route, w.bus)).collect();
    for (key, newest) in &latest {
        if newest.filter.is_some() && !configured.contains(key) {
            let from = tail(newest.bus);
            changes.push(Change::PutVersion(RouteVersion { from, filter: None, ..(*newest).clone() }));
        }
    }
    let ended = needless(kept, planned);
    // A version that begins where one ends takes its place: the new one must not be dropped with it.
    let renewed: HashSet<(RouteId, BusId, Offset)> = changes.iter().filter_map(put).collect();
    let ended = ended.filter(|v| !renewed.contains(&(v.route, v.bus, v.from)));
    changes.extend(ended.map(|v| Change::DropVersion { route: v.route, bus: v.bus, from: v.from }));
    changes
}

fn put(change: &Change) -> Option<(RouteId, BusId, Offset)> {
    if let Change::PutVersion(v) = change { Some((v.route, v.bus, v.from)) } else { None }
}

/// Versions that judge no record at or above B: followed by another at or below it, or an end that lies there.
fn needless(kept: &[RouteVersion], planned: impl Fn(BusId) -> Offset) -> impl Iterator<Item = &RouteVersion> {
    let mut valid: BTreeMap<(RouteId, BusId), Offset> = BTreeMap::new();
    for version in kept.iter().filter(|v| v.from <= planned(v.bus)) {
        let newest = valid.entry((version.route, version.bus)).or_insert(version.from);
        *newest = version.from.max(*newest);
    }
    kept.iter().filter(move |v| {
        let newest = valid.get(&(v.route, v.bus));
        newest.is_some_and(|newest| v.from < *newest || (v.from == *newest && v.filter.is_none()))
    })
}

/// The versions after a commit of what [`revise`] said.
pub fn revised(kept: Vec<RouteVersion>, changes: &[Change]) -> Vec<RouteVersion> {
    let key = |v: &RouteVersion| (v.route, v.bus, v.from);
    let mut versions: BTreeMap<_, RouteVersion> = kept.into_iter().map(|v| (key(&v), v)).collect();
    for change in changes {
        match change {
            Change::PutVersion(v) => {
                versions.insert(key(v), v.clone());
            }
            Change::DropVersion { route, bus, from } => {
                versions.remove(&(*route, *bus, *from));
            }
            _ => {}
        }
    }
    versions.into_values().collect()
}

/// Where a version begins whose place in the log is not known yet: after every record.
pub const UNPLACED: Offset = Offset(u64::MAX);

/// Gives versions their place: those that begin nowhere yet begin at `from` of their bus. One that takes the
/// place of another that begins there stays, and is not dropped with it.
pub fn place(changes: &mut Vec<Change>, from: impl Fn(BusId) -> Offset) {
    let mut placed: HashSet<(RouteId, BusId, Offset)> = HashSet::new();
    for change in changes.iter_mut() {
        if let Change::PutVersion(v) = change
            && v.from == UNPLACED
        {
            v.from = from(v.bus);
            placed.insert((v.route, v.bus, v.from));
        }
    }
    changes.retain(|change| match change {
        Change::DropVersion { route, bus, from } => !placed.contains(&(*route, *bus, *from)),
        _ => true,
    });
}

/// Judges the records of one bus in order.
pub struct Planner {
    versions: Vec<(RouteVersion, Filter)>,
    /// Offsets at which some version begins, rising.
    bounds: Vec<Offset>,
    matcher: Option<(Offset, Option<Offset>, Matcher)>,
    /// Matchers that were built before they are needed, by the bound from which on they hold.
    ahead: BTreeMap<Offset, Matcher>,
    /// Matchers that no record needs any more: a large one takes a while to be freed.
    spent: Vec<Matcher>,
    scratch: Scratch,
    owed: Vec<RouteId>,
}

impl Planner {
    /// A planner over all versions of a bus.
    ///
    /// # Errors
    /// The first version whose filter cannot be read.
    pub fn new(versions: Vec<RouteVersion>) -> Result<Self, Error> {
        let mut bounds: Vec<Offset> = versions.iter().map(|v| v.from).collect();
        bounds.sort();
        bounds.dedup();
        let versions = versions
            .into_iter()
            .map(|v| {
                let filter = v.filter.clone().map_or(Ok(Filter::none()), |text| read_filter(&v, &text))?;
                Ok((v, filter))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Planner {
            versions,
            bounds,
            matcher: None,
            ahead: BTreeMap::new(),
            spent: Vec::new(),
            scratch: Scratch::default(),
            owed: Vec::new(),
        })
    }

    /// Builds the matcher of what holds from the last version on, so that it is there when its first record comes.
    pub fn build_ahead(&mut self) {
        if let Some(last) = self.bounds.last().copied() {
            let (from, _, matcher) = self.matcher_at(last);
            self.ahead.insert(from, matcher);
        }
    }

    /// Its versions without a place begin here. No version begins later.
    pub fn place(&mut self, from: Offset) {
        self.versions.iter_mut().filter(|(v, _)| v.from == UNPLACED).for_each(|(v, _)| v.from = from);
        self.bounds.iter_mut().filter(|b| **b == UNPLACED).for_each(|b| *b = from);
        self.bounds.dedup();
        if let Some(matcher) = self.ahead.remove(&UNPLACED) {
            self.ahead.insert(from, matcher);
        }
    }

    /// Goes on by newer versions, which say the same of every record before the last of them; gives back
    /// what it was. What was built for those records is taken over.
    #[must_use]
    pub fn revise(&mut self, mut next: Planner) -> Planner {
        let last = next.bounds.last().copied().unwrap_or_default();
        if let Some((from, _, matcher)) = self.matcher.take_if(|(from, ..)| *from < last) {
            let to = next.bounds.iter().copied().find(|b| *b > from);
            next.matcher = Some((from, to, matcher));
        }
        for (from, matcher) in std::mem::take(&mut self.ahead) {
            if from < last {
                next.ahead.insert(from, matcher);
            } else {
                self.spent.push(matcher);
            }
        }
        std::mem::replace(self, next)
    }

    /// What no record needs any more, to be freed beside the flow.
    pub fn take_spent(&mut self) -> Vec<Matcher> {
        std::mem::take(&mut self.spent)
    }

    /// How many versions it knows: what it takes to build and to free.
    pub fn size(&self) -> usize {
        self.versions.len()
    }

    /// The routes to which the record is owed, in rising order.
    pub fn owed(&mut self, record: &Record) -> &[RouteId] {
        let at = record.offset;
        let fits = matches!(&self.matcher, Some((from, to, _)) if *from <= at && to.is_none_or(|to| at < to));
        if !fits {
            let next = match self.built_at(at) {
                Some(built) => built,
                None => self.matcher_at(at),
            };
            self.spent.extend(self.matcher.replace(next).map(|(_, _, matcher)| matcher));
        }
        self.owed.clear();
        if let Some((_, _, matcher)) = &self.matcher {
            matcher.matches(&record.event, &mut self.scratch, &mut self.owed);
        }
        &self.owed
    }

    /// What was built ahead for this offset. What was built for offsets before it is not needed any more.
    fn built_at(&mut self, at: Offset) -> Option<(Offset, Option<Offset>, Matcher)> {
        let next = self.bounds.partition_point(|b| *b <= at);
        let from = next.checked_sub(1).and_then(|i| self.bounds.get(i)).copied()?;
        let matcher = self.ahead.remove(&from)?;
        while self.ahead.first_key_value().is_some_and(|(before, _)| *before < from) {
            self.spent.extend(self.ahead.pop_first().map(|(_, matcher)| matcher));
        }
        Some((from, self.bounds.get(next).copied(), matcher))
    }

    fn matcher_at(&self, at: Offset) -> (Offset, Option<Offset>, Matcher) {
        let next = self.bounds.partition_point(|b| *b <= at);
        let from = next.checked_sub(1).and_then(|i| self.bounds.get(i)).copied().unwrap_or_default();
        let mut valid: BTreeMap<RouteId, &(RouteVersion, Filter)> = BTreeMap::new();
        for entry in self.versions.iter().filter(|(v, _)| v.from <= at) {
            let newest = valid.entry(entry.0.route).or_insert(entry);
            if entry.0.from >= newest.0.from {
                *newest = entry;
            }
        }
        let routes = valid.into_values().filter(|(v, _)| v.filter.is_some()).map(|(v, f)| (v.route, f.clone()));
        (from, self.bounds.get(next).copied(), Matcher::compile(routes))
    }
}

#[cfg(test)]
mod tests {
    use schemas::Event;

    use super::*;
    use crate::clock::Timestamp;

    fn version(route: u32, from: u64, kind: Option<&str>) -> RouteVersion {
        let filter = kind.map(|k| filter_text(Some(&Spec::Pattern(serde_json::json!({ "type": [k] })))));
        let name = RouteName::new(&format!("r{route}")).unwrap();
        RouteVersion { route: RouteId(route), name, bus: BusId(0), from: Offset(from), filter }
    }

    fn owed(planner: &mut Planner, offset: u64, kind: &str) -> Vec<u32> {
        let event = Event::builder("1", "/s", kind).build().unwrap();
        let record = Record { offset: Offset(offset), appended: Timestamp(0), event };
        planner.owed(&record).iter().map(|r| r.0).collect()
    }

    #[test]
    fn each_record_is_judged_by_the_versions_at_its_offset() {
        let versions =
            vec![version(1, 1, Some("a")), version(1, 10, Some("b")), version(2, 5, Some("a")), version(2, 12, None)];
        let mut p = Planner::new(versions).unwrap();
        assert_eq!(owed(&mut p, 4, "a"), [1]);
        assert_eq!(owed(&mut p, 5, "a"), [1, 2]);
        assert_eq!(owed(&mut p, 9, "b"), [0; 0]);
        assert_eq!(owed(&mut p, 10, "b"), [1]);
        assert_eq!(owed(&mut p, 11, "a"), [2]);
        assert_eq!(owed(&mut p, 12, "a"), [0; 0]);
        assert_eq!(owed(&mut p, 4, "a"), [1], "and backwards");
    }

    fn wanted(v: &RouteVersion) -> Wanted {
        Wanted { route: v.route, name: v.name.clone(), bus: v.bus, filter: v.filter.clone().unwrap() }
    }

    fn said(kept: Vec<RouteVersion>, want: Vec<RouteVersion>, planned: u64) -> Vec<String> {
        let want: Vec<_> = want.iter().map(wanted).collect();
        let say = |c: Change| match c {
            Change::PutVersion(v) => {
                format!("put {} {} {}", v.name, v.from, if v.filter.is_some() { "on" } else { "off" })
            }
            Change::DropVersion { route, from, .. } => format!("drop r{route} {from}"),
            other => format!("{other:?}"),
        };
        revise(&kept, &want, |_| Offset(100), |_| Offset(planned)).into_iter().map(say).collect()
    }

    #[test]
    fn only_what_changed_gets_a_version() {
        let (a, b, gone) = (version(1, 1, Some("a")), version(2, 1, Some("b")), version(2, 50, None));
        assert_eq!(said(vec![], vec![a.clone()], 0), ["put r1 100 on"]);
        assert_eq!(said(vec![a.clone()], vec![a.clone()], 0), [""; 0]);
        assert_eq!(said(vec![a.clone()], vec![version(1, 0, Some("c"))], 0), ["put r1 100 on"]);
        assert_eq!(said(vec![a.clone(), b.clone()], vec![a.clone()], 0), ["put r2 100 off"]);
        assert_eq!(said(vec![a.clone(), b.clone(), gone.clone()], vec![a.clone()], 50), ["drop r2 1", "drop r2 50"]);
        assert_eq!(
            said(vec![a.clone(), b.clone(), gone.clone()], vec![a.clone()], 49),
            [""; 0],
            "still needed below 50"
        );
        assert_eq!(
            said(vec![a, b.clone(), gone], vec![version(1, 0, Some("a")), b], 49),
            ["put r2 100 on"],
            "it came back"
        );
    }

    #[test]
    fn what_was_revised_needs_no_more_revision() {
        let kept = vec![version(1, 1, Some("a")), version(2, 1, Some("b")), version(2, 50, None)];
        let want = [version(1, 0, Some("c")), version(3, 0, Some("d"))].map(|v| wanted(&v));
        let changes = revise(&kept, &want, |_| Offset(100), |_| Offset(60));
        let after = revised(kept, &changes);
        let told: Vec<_> = after.iter().map(|v| (v.route.0, v.from.0, v.filter.is_some())).collect();
        assert_eq!(told, [(1, 1, true), (1, 100, true), (3, 100, true)]);
        assert!(revise(&after, &want, |_| Offset(120), |_| Offset(60)).is_empty());
    }

    /// Goal: a version whose place is found late judges from there on and nothing before, whatever was built when.
    #[test]
    fn planner_goes_on_by_newer_versions_from_their_place_on() {
        let mut p = Planner::new(vec![version(1, 1, Some("a"))]).unwrap();
        assert_eq!(owed(&mut p, 4, "a"), [1]);
        let mut next = Planner::new(vec![version(1, 1, Some("a")), version(1, UNPLACED.0, Some("b"))]).unwrap();
        next.build_ahead();
        next.place(Offset(10));
        assert_eq!(p.revise(next).size(), 1);
        assert_eq!((owed(&mut p, 9, "a"), owed(&mut p, 9, "b")), (vec![1], vec![]));
        let all = |last| {
            let versions = [version(1, 1, Some("a")), version(1, 10, Some("b")), version(1, UNPLACED.0, last)];
            let mut next = Planner::new(versions.into()).unwrap();
            next.build_ahead();
            next
        };
        // Again before the first of them was needed, and twice at one place.
        for last in [Some("c"), None] {
            let mut next = all(last);
            next.place(Offset(20));
            drop(p.revise(next));
        }
        assert_eq!((owed(&mut p, 9, "a"), owed(&mut p, 10, "a")), (vec![1], vec![]));
        assert_eq!((owed(&mut p, 19, "b"), owed(&mut p, 20, "b"), owed(&mut p, 20, "c")), (vec![1], vec![], vec![]));
        assert_eq!(p.take_spent().len(), 2, "those of the first and the second version");
        // At the place of the newest version: that one never judged.
        let mut next = all(Some("d"));
        next.place(Offset(20));
        drop(p.revise(next));
        assert_eq!((owed(&mut p, 20, "d"), owed(&mut p, 19, "b")), (vec![1], vec![1]));
    }

    #[test]
    fn placed_version_is_not_dropped_with_the_one_that_it_replaces() {
        let (on, gone) = (version(1, 1, Some("a")), version(1, 100, None));
        let mut changes = revise(&[on, gone], &[wanted(&version(1, 0, Some("a")))], |_| UNPLACED, |_| Offset(100));
        assert_eq!(changes.len(), 3, "put, and both that no record needs: {changes:?}");
        place(&mut changes, |_| Offset(100));
        let told: Vec<_> = revised(vec![version(1, 1, Some("a")), version(1, 100, None)], &changes);
        assert_eq!(told, [version(1, 100, Some("a"))]);
    }

    #[test]
    fn a_filter_of_the_future_is_refused_by_name() {
        let mut v = version(1, 7, Some("a"));
        v.filter = Some(r#"{"telepathy":1}"#.into());
        let Err(e) = Planner::new(vec![v]) else { panic!("it is refused") };
        assert!(
            e.to_string()
                .starts_with("route r1, version from offset 7: filter: this version of gocoffee cannot read it"),
            "{e}"
        );
    }
}
