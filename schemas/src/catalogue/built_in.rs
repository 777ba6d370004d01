//! The schemas of the platform's own events, as they stand in `schemas/payloads`; a test holds the list to the folder.

/// Type and text.
pub(super) const ALL: &[(&str, &str)] = &[
    ("ai.response.needed", include_str!("../../payloads/ai.response.needed.schema.json")),
    ("ai.response.ready", include_str!("../../payloads/ai.response.ready.schema.json")),
    ("ai.task.assigned", include_str!("../../payloads/ai.task.assigned.schema.json")),
    ("ai.task.completed", include_str!("../../payloads/ai.task.completed.schema.json")),
    ("ai.task.created", include_str!("../../payloads/ai.task.created.schema.json")),
    ("ai.task.failed", include_str!("../../payloads/ai.task.failed.schema.json")),
    ("alert.trigger", include_str!("../../payloads/alert.trigger.schema.json")),
    ("coffee.order.accepted", include_str!("../../payloads/coffee.order.accepted.schema.json")),
    ("coffee.order.changed", include_str!("../../payloads/coffee.order.changed.schema.json")),
    ("coffee.order.created", include_str!("../../payloads/coffee.order.created.schema.json")),
    ("coffee.order.rejected", include_str!("../../payloads/coffee.order.rejected.schema.json")),
    ("coffee.order.updated", include_str!("../../payloads/coffee.order.updated.schema.json")),
    ("defi.arbitrage.opportunity", include_str!("../../payloads/defi.arbitrage.opportunity.schema.json")),
    ("defi.price.update", include_str!("../../payloads/defi.price.update.schema.json")),
    ("inventory.forecast", include_str!("../../payloads/inventory.forecast.schema.json")),
    ("inventory.low", include_str!("../../payloads/inventory.low.schema.json")),
    ("inventory.reorder", include_str!("../../payloads/inventory.reorder.schema.json")),
    ("inventory.reserved", include_str!("../../payloads/inventory.reserved.schema.json")),
    ("notification.delivered", include_str!("../../payloads/notification.delivered.schema.json")),
    ("notification.failed", include_str!("../../payloads/notification.failed.schema.json")),
    ("notification.send", include_str!("../../payloads/notification.send.schema.json")),
];
