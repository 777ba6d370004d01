//! Names of metrics, their help and unit, all in one file: dashboards and alerts hang on them. Times are in
//! seconds; counters get the ending `_total` from the text format.

/// A metric: its name and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Name(pub &'static str, pub &'static str);

/// By bus.
pub const ACCEPTED: Name = Name("gocoffee_events_accepted", "Events that were made durable");
/// By bus.
pub const DUPLICATE: Name = Name("gocoffee_events_duplicate", "Events that were there already");
/// By bus.
pub const DUPLICATE_DIFFERS: Name =
    Name("gocoffee_events_duplicate_differs", "Events whose source and id were there already, with other bytes");
/// By bus.
pub const LOOPED: Name = Name("gocoffee_events_looped", "Events that had passed this router before");
/// By bus.
pub const SCHEMA_WARNED: Name =
    Name("gocoffee_events_schema_warned", "Events that were not refused, though their schema refuses them");
/// By bus and code.
pub const REFUSED: Name = Name("gocoffee_events_refused", "Events that were refused");
/// By bus, 1 while it takes nothing in.
pub const REFUSES: Name = Name("gocoffee_bus_refuses", "1 while nothing is taken in, for want of space or for a route");
/// Of the store.
pub const DISK_USED: Name = Name("gocoffee_disk_used_bytes", "Bytes of logs, side files, remnants and ledger");
/// Of the store.
pub const DISK_FREE: Name = Name("gocoffee_disk_free_bytes", "Free bytes of the file system");
/// Of the store by level, 1 for the one that holds.
pub const DISK_LEVEL: Name = Name("gocoffee_disk_level", "1 for how short space is: calm, short or full");
/// By level.
pub const DISK_LEVELS: Name = Name("gocoffee_disk_levels_entered", "Times that space became so short, or calm again");
/// By reason.
pub const REDUCED: Name = Name("gocoffee_segments_reduced", "Segments and remnants that were let go");
/// Of the archive in object storage.
pub const COPIED: Name = Name("gocoffee_archive_copies", "Copies that were made in the archive");
/// Of the archive in object storage.
pub const COPIED_BYTES: Name =
    Name("gocoffee_archive_copied_bytes", "Bytes of the copies that were made, as they lie there");
/// Of the archive in object storage.
pub const COPY_FAILURES: Name =
    Name("gocoffee_archive_failures", "Times that the archive could not be written or listed");
/// Of the archive in object storage.
pub const COPIES_REMOVED: Name =
    Name("gocoffee_archive_removed", "Copies that were removed, older than archive.age_max");
/// Of the archive in object storage.
pub const ARCHIVE_FAILING: Name = Name("gocoffee_archive_failing", "1 when nothing can be copied to the archive");
/// By bus.
pub const UNCOPIED: Name = Name("gocoffee_archive_waiting_segments", "Sealed segments that have no copy yet");
/// By bus.
pub const UNCOPIED_BYTES: Name =
    Name("gocoffee_archive_waiting_bytes", "Bytes of sealed segments that have no copy yet");
/// By bus.
pub const UNCOPIED_OLDEST: Name =
    Name("gocoffee_archive_waiting_seconds", "Age of the last event of the oldest segment that has no copy yet");
/// Of the store.
pub const CONVERSIONS: Name =
    Name("gocoffee_backlogs_converted", "Times that a backlog became dead letters for want of space");
/// By bus; a histogram.
pub const APPEND: Name = Name("gocoffee_append_seconds", "Writing and syncing a batch of events");
/// A histogram.
pub const COMMIT: Name = Name("gocoffee_commit_seconds", "Committing what is owed");
/// By bus.
pub const TAIL: Name = Name("gocoffee_bus_tail_offset", "The offset that the next event gets");
/// By route.
pub const LAG: Name = Name("gocoffee_route_lag_events", "Events of the route's bus that are not matched yet");
/// By route.
pub const OLDEST: Name =
    Name("gocoffee_route_oldest_age_seconds", "Age of the oldest delivery that is owed, 0 when none is");
/// By route.
pub const WAITING: Name = Name("gocoffee_route_waiting", "Deliveries that are owed, those in flight included");
/// By route.
pub const WAITING_BYTES: Name = Name("gocoffee_route_waiting_bytes", "Bytes of the events that are owed");
/// By route.
pub const RETRYING: Name = Name("gocoffee_route_retrying", "Deliveries that wait for their next try");
/// By route.
pub const IN_LEDGER: Name = Name("gocoffee_route_in_ledger", "Deliveries that are owed and not held in memory");
/// By route.
pub const PARKED: Name =
    Name("gocoffee_route_parked", "Deliveries that are owed and parked behind another of their key");
/// By route.
pub const STUCK_KEYS: Name =
    Name("gocoffee_route_stuck_keys", "Keys that wait for the next try of their first delivery, or for a dead letter");
/// By route.
pub const IN_FLIGHT: Name = Name("gocoffee_route_in_flight", "Deliveries that an attempt is made for right now");
/// By route.
pub const DEAD_LETTERS: Name = Name("gocoffee_route_dead_letters", "Dead letters that are open");
/// By route and state, 1 for the state that holds.
pub const ROUTE_STATE: Name = Name("gocoffee_route_state", "1 for the state that the route is in");
/// By route.
pub const MATCHED: Name = Name("gocoffee_deliveries_matched", "Deliveries opened by a match");
/// By route.
pub const RESUMED: Name = Name("gocoffee_deliveries_resumed", "Deliveries that were owed when the router started");
/// By route.
pub const REDRIVEN: Name = Name("gocoffee_deliveries_redriven", "Deliveries opened again out of dead letters");
/// By route.
pub const DELIVERED: Name = Name("gocoffee_deliveries_delivered", "Deliveries that a target took");
/// By route.
pub const DEAD_LETTERED: Name = Name("gocoffee_deliveries_dead_lettered", "Deliveries parked as dead letters");
/// By route and reason.
pub const LETTERS_ENDED: Name =
    Name("gocoffee_dead_letters_ended", "Dead letters that an operator or a limit ended for good");
/// By route.
pub const ENDED: Name = Name("gocoffee_deliveries_ended", "Deliveries ended by an operator or a limit");
/// By route and outcome.
pub const ATTEMPTS: Name = Name("gocoffee_attempts", "Attempts");
/// By route.
pub const BATCHES_HALVED: Name =
    Name("gocoffee_batches_halved", "Batches that were taken apart to find the delivery that they failed for");
/// By route.
pub const REPLIES_IGNORED: Name =
    Name("gocoffee_replies_ignored", "Events in answers of targets that were not taken in");
/// By route.
pub const REPLIES_APPENDED: Name = Name("gocoffee_replies_appended", "Events in answers that were made durable");
/// By route.
pub const REPLIES_DUPLICATE: Name = Name("gocoffee_replies_duplicate", "Events in answers that were there already");
/// By route.
pub const REPLIES_QUARANTINED: Name =
    Name("gocoffee_replies_quarantined", "What in answers is no event that could be taken in");
/// By route.
pub const UNORDERED: Name =
    Name("gocoffee_deliveries_unordered", "Deliveries of routes with order whose events lack the attribute");
/// By route.
pub const KEYS_ENDED: Name = Name("gocoffee_keys_ended", "Keys that were dead-lettered whole at stuck_keys_max");
/// By route; a histogram.
pub const LATENCY: Name = Name("gocoffee_delivery_latency_seconds", "From append to delivered");
/// By target and state, 1 for the state that holds.
pub const BREAKER: Name = Name("gocoffee_target_breaker", "1 for the state that the target's breaker is in");
/// By target.
pub const TARGET_IN_FLIGHT: Name = Name("gocoffee_target_in_flight", "Calls under way");
/// By state.
pub const REPLAYS: Name = Name("gocoffee_replays", "Replays that are not over");
/// Of all replays.
pub const REPLAYS_STARTED: Name = Name("gocoffee_replays_started", "Replays that were started");
/// By end.
pub const REPLAYS_ENDED: Name = Name("gocoffee_replays_ended", "Replays that are over, by why");
/// Of all replays.
pub const REPLAY_HELD: Name = Name("gocoffee_replay_held_bytes", "Bytes of segments that replays hold from trimming");
/// Of all replays.
pub const REPLAY_READ: Name = Name("gocoffee_replay_events_read", "Events that replays have read");
/// By outcome.
pub const REPLAY_DELIVERIES: Name =
    Name("gocoffee_replay_deliveries", "Deliveries of replays: opened, delivered, dead-lettered, ended");
/// Of all replays.
pub const REPLAY_REPLIES: Name =
    Name("gocoffee_replay_replies_discarded", "Events in answers to replayed deliveries that were not taken in");
/// Of the router.
pub const FACTS_TOLD: Name = Name("gocoffee_system_events", "Events of the router itself on the bus system");
/// Of the router.
pub const FACTS_LOST: Name =
    Name("gocoffee_system_facts_lost", "Facts of the router that could not be told on the bus system");
/// Of the router.
pub const FACTS_ABOUT_ITSELF: Name =
    Name("gocoffee_system_facts_about_itself", "Facts about the bus system itself, which make no event");
/// By result.
pub const RELOADS: Name = Name("gocoffee_reloads", "Times that the configuration was read again while running");
/// Of the router.
pub const RELOAD_LAST: Name =
    Name("gocoffee_reload_last_time_seconds", "When it was read again last, in seconds since 1970; 0 before");
/// Of the router.
pub const RELOAD_APPLIED: Name =
    Name("gocoffee_reload_last_applied", "1 when what was read last is in force, 0 when it was refused");
/// By version.
pub const BUILD: Name = Name("gocoffee_build", "The version that runs, always 1");

/// The label of a bus.
pub const BUS: &str = "bus";
/// The label of a route.
pub const ROUTE: &str = "route";
/// The label of a target.
pub const TARGET: &str = "target";
/// The label of a refusal's code.
pub const CODE: &str = "code";
/// The label of why a dead letter was ended.
pub const REASON: &str = "reason";
/// The label of an attempt's outcome.
pub const OUTCOME: &str = "outcome";
/// The label of what came of a reload.
pub const RESULT: &str = "result";
/// The label of a level of space.
pub const LEVEL: &str = "level";
/// The label of a state.
pub const STATE: &str = "state";
/// The label of the version.
pub const VERSION: &str = "version";
