//! JSON data that a program writes itself: known to be a JSON text without being read.

use bytes::Bytes;
use serde::Serialize;

use super::{Builder, Data, Form};
use crate::doc::{DEPTH_MAX, MEMBERS_MAX};

/// Room for a text at first: most are shorter, and are written without being moved.
const AT_FIRST_BYTES: usize = 1_024;

/// A JSON text as serde_json wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Written(Bytes);

impl Written {
    /// Writes a value.
    ///
    /// # Errors
    /// A value that JSON cannot say.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut text = Vec::with_capacity(AT_FIRST_BYTES);
        serde_json::to_writer(&mut text, value)?;
        Ok(Written(text.into()))
    }

    /// The text.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether no limit of [`crate::doc`] can be passed: each level begins with a bracket, each member has a colon. Those
    /// within strings count too, so that a text of which this is not sure is read.
    pub(super) fn is_within_limits(&self) -> bool {
        count(&self.0, |byte| matches!(byte, b'[' | b'{')) <= DEPTH_MAX
            && (self.0.len() <= MEMBERS_MAX || count(&self.0, |byte| byte == b':') <= MEMBERS_MAX)
    }
}

/// Counts bytes. A stretch is short enough for its count to fit a byte, so that a processor counts many at once.
fn count(text: &[u8], of: impl Fn(u8) -> bool) -> usize {
    text.chunks(128).map(|stretch| usize::from(stretch.iter().map(|byte| u8::from(of(*byte))).sum::<u8>())).sum()
}

impl std::fmt::Debug for Written {
    /// Its size; a payload is never printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("bytes", &self.0.len()).finish()
    }
}

impl Builder<'_> {
    /// Sets data that serde_json wrote. Only a text that may pass a limit of [`crate::doc`] is read again by
    /// [`Builder::build`].
    #[must_use]
    pub fn written(mut self, json: Written) -> Self {
        self.form = Form::Json;
        self.data = Data::Written(json);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, codes};

    fn nested(levels: usize) -> Written {
        let value = (0..levels).fold(serde_json::json!(0), |inner, _| serde_json::json!([inner]));
        Written::of(&value).unwrap()
    }

    #[test]
    fn it_is_the_event_that_reading_the_text_gives() {
        for value in [serde_json::json!({"a": [1.5, "größe\n"], "b": {}}), serde_json::json!("[{:".repeat(5_000))] {
            let written = Written::of(&value).unwrap();
            let read = Event::builder("1", "/s", "t").data(Form::Json, written.bytes().clone()).build().unwrap();
            assert_eq!(Event::builder("1", "/s", "t").written(written).build().unwrap(), read);
        }
    }

    #[test]
    fn limits_hold_as_for_what_is_read() {
        assert!(Event::builder("1", "/s", "t").written(nested(DEPTH_MAX)).build().is_ok());
        let deeper = Event::builder("1", "/s", "t").written(nested(DEPTH_MAX + 1)).build().unwrap_err();
        assert_eq!(deeper.code, codes::JSON_TOO_DEEP);
        let members: serde_json::Map<_, _> = (0..10_001).map(|n| (n.to_string(), 0.into())).collect();
        let many = Event::builder("1", "/s", "t").written(Written::of(&members).unwrap()).build().unwrap_err();
        assert_eq!(many.code, codes::JSON_TOO_MANY_MEMBERS);
    }
}
