//! What the Azure Functions host reads of a custom handler: `host.json` for the app, `function.json` for its function.

use serde_json::{Value, json};

use super::zip::Entry;

/// What calls a function. The trigger's binding has the name that the function's host looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Trigger {
    /// An Event Grid subscription, in either schema.
    #[default]
    EventGrid,
    /// A caller over HTTP, who reads the answer.
    Http,
    /// A queue of the storage account `AzureWebJobsStorage`, called as the function.
    Queue,
    /// A queue of the namespace `ServiceBusConnection`, called as the function.
    ServiceBus,
}

impl Trigger {
    fn bindings(self, function: &str) -> Value {
        let one = |kind: &str, name: &str, more: Value| {
            let mut binding = json!({"type": kind, "direction": "in", "name": name});
            if let (Some(binding), Value::Object(more)) = (binding.as_object_mut(), more) {
                binding.extend(more);
            }
            json!([binding])
        };
        match self {
            Trigger::EventGrid => one("eventGridTrigger", "event", json!({})),
            Trigger::Http => json!([
                {"type": "httpTrigger", "direction": "in", "name": "req", "methods": ["post"], "authLevel": "function"},
                {"type": "http", "direction": "out", "name": "res"},
            ]),
            Trigger::Queue => {
                one("queueTrigger", "message", json!({"queueName": function, "connection": "AzureWebJobsStorage"}))
            }
            Trigger::ServiceBus => one(
                "serviceBusTrigger",
                "message",
                json!({"queueName": function, "connection": "ServiceBusConnection"}),
            ),
        }
    }
}

/// The files of the app.
pub fn entries(function: &str, trigger: Trigger, program: Vec<u8>) -> Vec<Entry> {
    let host = json!({
        "version": "2.0",
        "logging": {"applicationInsights": {"samplingSettings": {"isEnabled": true, "excludedTypes": "Request"}}},
        "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
        "customHandler": {
            "description": {"defaultExecutablePath": "handler", "workingDirectory": "", "arguments": []},
            "enableForwardingHttpRequest": false,
        },
    });
    let of_function = json!({"bindings": trigger.bindings(function)});
    vec![
        Entry::text("host.json", format!("{host:#}\n")),
        Entry::text(format!("{function}/function.json"), format!("{of_function:#}\n")),
        Entry::program("handler", program),
    ]
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_trigger_is_called_as_the_host_of_the_function_looks_for_it() {
        let known = ["event", "req", "message"];
        for trigger in Trigger::value_variants() {
            let bindings = trigger.bindings("f");
            let inward: Vec<&Value> =
                bindings.as_array().unwrap().iter().filter(|binding| binding["direction"] == "in").collect();
            assert_eq!(inward.len(), 1, "{trigger:?}");
            assert!(known.contains(&inward[0]["name"].as_str().unwrap()), "{bindings}");
        }
    }
}
