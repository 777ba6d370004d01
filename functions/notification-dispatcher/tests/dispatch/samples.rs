use std::{fs, path::Path};

use function_host::testing::{
    Came, FORMS,
    endpoint::{Endpoint, Say},
    send,
};
use notification_dispatcher::NotificationDispatcher;
use schemas::payload::notifications;
use serde_json::json;

use super::NOON;

#[tokio::test]
async fn the_samples_are_valid_and_come_from_every_platform() {
    let endpoint = Endpoint::start([Say::json(200, "")]).await;
    let hook = json!({"webhook": {"url": endpoint.url}});
    let config = json!({"channels": {"push": hook, "slack": {"slack": {"url": endpoint.url}}},
        "templates": {"order-ready": {"en": {"title": "Ready", "text": "{{ order }}"}}},
        "alerts": {"to": {"critical": ["oncall"]}, "channels": ["slack"]}});
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["notification", "alert"] {
        let sample = fs::read(root.join(format!("samples/{name}.json"))).unwrap();
        let event = schemas::json::decode(&sample).unwrap();
        let schema = root.join(format!("../../schemas/payloads/{}.schema.json", event.kind()));
        let schema = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
        let data: serde_json::Value = serde_json::from_slice(event.data()).unwrap();
        assert!(jsonschema::draft202012::new(&schema).unwrap().is_valid(&data), "{name}");
        for form in FORMS {
            let settings = [("NOTIFY", config.to_string())];
            let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let came = send::<NotificationDispatcher>(form, &settings, NOON.parse().unwrap(), &event).await;
            let Came::Replies(replies) = came else { panic!("{name} in {form}: {came:?}") };
            let reply: notifications::Delivered = serde_json::from_slice(replies[0].data()).unwrap();
            assert_eq!(reply.how, notifications::How::Sent, "{name} in {form}");
        }
    }
}
