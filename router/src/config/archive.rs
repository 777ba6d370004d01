//! Where sealed segments are copied to.

use std::{collections::BTreeMap, time::Duration};

use router_core::{id::BusName, retain::Uncopied};
use router_objects::Place;
use serde::Deserialize;

use super::value::{self, Secret};

/// How long an event waits for its copy at most, unless it is said otherwise.
const LAG_MAX: Duration = Duration::from_secs(3600);

/// Where sealed segments are copied to. It is one for the whole router: its copies are known as those of this data
/// folder by one mark, and have one set of credentials.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, or a folder. Required.
    #[serde(deserialize_with = "place")]
    pub to: Place,
    /// What the store is told, e.g. `aws_region`: endpoint, encryption, credentials that do not stand in the environment.
    /// Default: what the environment says.
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
    /// The buses whose events are copied. Default: all that are configured, and `default`.
    #[serde(default)]
    pub buses: Option<Vec<BusName>>,
    /// What becomes of settled events without a copy when the disk is full. Default `let-go`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// An event is copied at the latest so long after it came in. Default `1h`.
    #[serde(default = "lag_max", deserialize_with = "value::duration")]
    pub lag_max: Duration,
    /// Copies whose last event is older are removed. Default: the router removes none.
    #[serde(default, deserialize_with = "value::duration_some")]
    pub age_max: Option<Duration>,
}

fn lag_max() -> Duration {
    LAG_MAX
}

fn place<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Place, D::Error> {
    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
}

/// What becomes of settled events without a copy when the disk is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// They go, the oldest first, and each stretch is counted and told.
    #[default]
    LetGo,
    /// They stay, and intake refuses until they are copied.
    Hold,
}

impl WhenFull {
    /// As the path takes it.
    pub fn uncopied(self) -> Uncopied {
        match self {
            WhenFull::LetGo => Uncopied::LetGo,
            WhenFull::Hold => Uncopied::Hold,
        }
    }
}

impl<'de> Deserialize<'de> for WhenFull {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "let-go" => Ok(WhenFull::LetGo),
            "hold" => Ok(WhenFull::Hold),
            other => Err(serde::de::Error::custom(format!("`{other}` is none of `let-go` and `hold`"))),
        }
    }
}
