//! The operations of the admin side, by name: one table for who serves them and who calls them. The document
//! `docs/openapi.json` describes the same ones; tests hold it to this table and to what is answered.

use axum::http::Method;

/// Makes the enum, its list, and what is known of each.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $method:ident $path:literal;)+) => {
        /// One operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation {
            $($(#[$doc])* $name,)+
        }

        impl Operation {
            /// All of them: the server serves these and no other.
            pub const ALL: &[Operation] = &[$(Operation::$name),+];

            /// Its `operationId` in the document.
            pub const fn id(self) -> &'static str {
                match self { $(Operation::$name => $id,)+ }
            }

            /// Its method.
            pub const fn method(self) -> Method {
                match self { $(Operation::$name => Method::$method,)+ }
            }

            /// Its path; `{id}` stands for an id.
            pub const fn path(self) -> &'static str {
                match self { $(Operation::$name => $path,)+ }
            }
        }
    };
}

operations! {
    /// Whether the process answers.
    Health = "health", GET "/healthz";
    /// Whether events are taken in.
    Ready = "ready", GET "/readyz";
    /// Figures for scrapers.
    Metrics = "metrics", GET "/metrics";
    /// The document itself.
    Document = "document", GET "/api/openapi.json";
    /// What the router is doing.
    Status = "status", GET "/api/status";
    /// What goes where.
    Routes = "routes", GET "/api/routes";
    /// Delivers nothing more for a route.
    PauseRoute = "pauseRoute", POST "/api/routes/pause";
    /// Delivers for a route again.
    ResumeRoute = "resumeRoute", POST "/api/routes/resume";
    /// Ends what a route is owed before a place.
    SkipRoute = "skipRoute", POST "/api/routes/skip";
    /// Ends all that an orphaned route owes.
    DropRoute = "dropRoute", POST "/api/routes/drop";
    /// Where events go.
    Targets = "targets", GET "/api/targets";
    /// Looks whether a target can be reached.
    ProbeTarget = "probeTarget", POST "/api/targets/probe";
    /// Reads the configuration again.
    Reload = "reload", POST "/api/reload";
    /// Why an event does not match.
    ExplainFilter = "explainFilter", POST "/api/filters/explain";
    /// Events as they come.
    Tail = "tail", GET "/api/tail";
    /// What is kept of each bus.
    Archive = "archive", GET "/api/archive";
    /// The events of a stretch of a bus.
    ExportArchive = "exportArchive", GET "/api/archive/events";
    /// A page of dead letters.
    ListDeadLetters = "listDeadLetters", GET "/api/dead-letters";
    /// One dead letter with its event.
    ShowDeadLetter = "showDeadLetter", GET "/api/dead-letters/{id}";
    /// Delivers dead letters again.
    RedriveDeadLetters = "redriveDeadLetters", POST "/api/dead-letters/redrive";
    /// Takes an event in that stands for a dead letter.
    EditDeadLetter = "editDeadLetter", POST "/api/dead-letters/edit";
    /// Ends dead letters for good.
    PurgeDeadLetters = "purgeDeadLetters", POST "/api/dead-letters/purge";
    /// Starts a replay.
    StartReplay = "startReplay", POST "/api/replays/start";
    /// All replays.
    Replays = "listReplays", GET "/api/replays";
    /// One replay.
    ShowReplay = "showReplay", GET "/api/replays/{id}";
    /// Pauses a replay.
    PauseReplay = "pauseReplay", POST "/api/replays/pause";
    /// Lets a replay go on.
    ResumeReplay = "resumeReplay", POST "/api/replays/resume";
    /// Ends a replay.
    CancelReplay = "cancelReplay", POST "/api/replays/cancel";
}
