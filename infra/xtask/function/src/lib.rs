//! Answers what it is asked.
//!
//! | it gets | it replies with |
//! |---|---|
//! | `the-function.asked` | `the-function.answered` |

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, data};
use schemas::Event;
use serde::{Deserialize, Serialize};

/// The function.
pub struct TheFunction {
    greeting: String,
}

/// The data of `the-function.asked`.
#[derive(Deserialize)]
struct Asked {
    /// Who asks.
    name: String,
}

/// The data of `the-function.answered`.
#[derive(Serialize)]
struct Answered {
    /// What is said.
    text: String,
}

impl Function for TheFunction {
    const NAME: &'static str = "the-function";
    const CONSUMES: &'static [&'static str] = &["the-function.asked"];
    const EMITS: &'static [&'static str] = &["the-function.answered"];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        Ok(TheFunction { greeting: settings.read("GREETING", "Hello".to_owned())? })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        // A repeat of the delivery gets the same answer, without the work.
        ctx.once(ctx.key(), async {
            let asked: Asked = data(event)?;
            let answered = Answered { text: format!("{}, {}", self.greeting, asked.name) };
            Ok(vec![Reply::json("the-function.answered", &answered)?])
        })
        .await
    }
}
