use super::*;

fn config() -> EventBridgeConfig {
    EventBridgeConfig::new(TargetName::new("t").unwrap(), "coffee")
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    let bus = |bus: &str| EventBridgeConfig { bus: bus.into(), ..config() };
    let batch = |count_max, bytes_max| EventBridgeConfig {
        batch: Batch { count_max, bytes_max, ..Batch::default() },
        ..config()
    };
    let cases = [
        (bus(""), "bus"),
        (bus("two words"), "bus"),
        (bus("arn:aws:sqs:us-east-1:1:q"), "bus"),
        (batch(11, 1), "count_max"),
        (batch(0, 1), "count_max"),
        (batch(1, 0), "bytes_max"),
        (EventBridgeConfig { in_flight_max: 0, ..config() }, "in_flight_max"),
    ];
    for (config, key) in cases {
        let refused = EventBridge::new(config, &Accounts::default()).err().unwrap();
        assert_eq!(refused.keys.last(), Some(&key), "{refused}");
    }
    for fine in ["default", "aws.partner/example.com/123", "arn:aws:events:eu-west-1:123456789012:event-bus/coffee"] {
        assert!(EventBridge::new(bus(fine), &Accounts::default()).is_ok(), "{fine}");
    }
}

#[test]
fn an_entry_fares_as_its_own_answer_says() {
    let entry = |code: Option<&str>| {
        let said = code.map(|_| "because".to_owned());
        let id = if code.is_none() { Some("e-1".to_owned()) } else { None };
        let entry = PutEventsResultEntry::builder().set_event_id(id);
        outcome_of(&entry.set_error_code(code.map(str::to_owned)).set_error_message(said).build())
    };
    let Outcome::Delivered { facts, .. } = entry(None) else { panic!("it was taken") };
    assert_eq!(facts.reference.as_deref(), Some("e-1"));
    use router_core::target::Scope;
    assert!(matches!(
        entry(Some("ThrottlingException")),
        Outcome::Retry { scope: Scope::Target, not_before: None, .. }
    ));
    assert!(matches!(entry(Some("InternalFailure")), Outcome::Retry { scope: Scope::Event, .. }));
    assert!(matches!(
        entry(Some("AccessDeniedException")),
        Outcome::Retry { scope: Scope::Target, not_before: Some(_), .. }
    ));
    for code in ["MalformedDetail", "InvalidArgument", "NotAuthorizedForSourceException", "SomethingNew"] {
        let Outcome::Refused { facts, .. } = entry(Some(code)) else { panic!("{code} is for good") };
        assert_eq!(facts.note.as_deref(), Some(format!("{code}: because").as_str()));
    }
}
