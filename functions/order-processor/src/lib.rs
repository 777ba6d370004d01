//! Prices coffee orders and drives them through their states.
//!
//! | it gets | it replies with |
//! |---|---|
//! | `coffee.order.created` | `coffee.order.accepted`, `inventory.reserved` and `notification.send`, or `coffee.order.rejected` |
//! | `coffee.order.updated` | `coffee.order.changed` and, where the customer has to know, `notification.send`; or `coffee.order.rejected` |
//!
//! What a customer can mend is a rejected order, with every reason at once; data that is no order at all is
//! refused, and becomes a dead letter. A repeat of an event gives the same replies with the same ids: pricing
//! depends on nothing but the event and the menu, and an order's record remembers which event took which
//! step.
//!
//! Settings: `MENU` or `MENU_FILE` (see [`menu`]); `ORDERS_UNKNOWN` says what becomes of a change of an order
//! that the state does not know: `trust` (the default, for a state that does not outlive the process) believes
//! the event's own `from`, `reject` rejects it.

pub mod menu;
pub mod price;
pub mod record;

use function_host::{Context, Failure, Function, Reply, SettingError, Settings, Severity, data};
use schemas::{
    Event,
    payload::{
        notifications,
        orders::{Accepted, Changed, Created, Reason, Rejected, State, Updated, What},
    },
};

use menu::Menu;
use record::Step;

/// What becomes of a change of an order that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    Trust,
    Reject,
}

/// The function.
#[derive(Debug)]
pub struct OrderProcessor {
    menu: Menu,
    unknown: Unknown,
}

impl Function for OrderProcessor {
    const NAME: &'static str = "order-processor";
    const CONSUMES: &'static [&'static str] = &["coffee.order.created", "coffee.order.updated"];
    const EMITS: &'static [&'static str] = &[
        "coffee.order.accepted",
        "coffee.order.rejected",
        "coffee.order.changed",
        "inventory.reserved",
        "notification.send",
    ];

    fn start(settings: &Settings) -> Result<Self, SettingError> {
        let unknown = match settings.get("ORDERS_UNKNOWN") {
            None | Some("trust") => Unknown::Trust,
            Some("reject") => Unknown::Reject,
            Some(_) => return Err(SettingError::new("ORDERS_UNKNOWN", "is neither `trust` nor `reject`")),
        };
        Ok(OrderProcessor { menu: Menu::load(settings)?, unknown })
    }

    async fn handle(&self, event: &Event, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        match event.kind() {
            "coffee.order.created" => self.created(event, &data(event)?, ctx).await,
            // Whether a change can be depends on when it is asked: the first answer stays the answer.
            _ => ctx.once(&ctx.event_key(event), async { self.updated(event, &data(event)?, ctx).await }).await,
        }
    }
}

impl OrderProcessor {
    async fn created(&self, event: &Event, order: &Created, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let at = event.get("time").and_then(|time| time.to_string().parse().ok()).unwrap_or_else(|| ctx.now());
        let (accepted, reserved) = match price::price(&self.menu, order, at) {
            Ok(priced) => priced,
            Err(reasons) => return rejected(&order.order, What::Order, reasons),
        };
        match record::begin(ctx, event, &order.order, &order.customer.name).await? {
            Step::Taken => {}
            Step::No(record) => {
                let message =
                    format!("{} exists, and is {}; give each order its own name", order.order, record.state().as_str());
                let reason = Reason { code: "order-exists".into(), place: "order".into(), message };
                return rejected(&order.order, What::Order, vec![reason]);
            }
        }
        let accepted_reply = of_order(Reply::json("coffee.order.accepted", &accepted)?, &order.order);
        let mut replies = vec![accepted_reply];
        if !reserved.items.is_empty() {
            let reply = Reply::json("inventory.reserved", &reserved)?.subject(format!("shops/{}/stock", order.shop));
            replies.push(reply.attr("partitionkey", format!("shop-{}", order.shop)));
        }
        replies.push(notify(&order.order, &order.customer.name, "Order accepted", &thanks(&accepted))?);
        Ok(replies)
    }

    async fn updated(&self, event: &Event, update: &Updated, ctx: &Context) -> Result<Vec<Reply>, Failure> {
        let Updated { order, from, to, .. } = update;
        if from == to {
            // Said again, not changed: nobody has to hear of it.
            ctx.log(Severity::Info, &format!("{order} is {} already", to.as_str()));
            return Ok(Vec::new());
        }
        if !from.may_become(*to) {
            let message = format!("an order that is {} cannot become {}", from.as_str(), to.as_str());
            return rejected(
                order,
                What::Change,
                vec![Reason { code: "state-order".into(), place: "to".into(), message }],
            );
        }
        let trusted = (self.unknown == Unknown::Trust).then_some(*from);
        let customer = match record::step(ctx, event, order, trusted, *from, *to).await? {
            Ok(customer) => customer,
            Err(is) => {
                let message = match is {
                    Some(state) => {
                        format!("{order} is {}, not {}; send the change anew from there", state.as_str(), from.as_str())
                    }
                    None => format!("{order} is not known; create it first"),
                };
                let code = if is.is_some() { "state-differs" } else { "order-unknown" };
                return rejected(
                    order,
                    What::Change,
                    vec![Reason { code: code.into(), place: "from".into(), message }],
                );
            }
        };
        let releases_stock = *to == State::Cancelled && *from == State::Accepted;
        let changed = Changed { order: order.clone(), from: *from, to: *to, releases_stock };
        let mut replies = vec![of_order(Reply::json("coffee.order.changed", &changed)?, order)];
        if let (Some((title, text)), Some(customer)) = (news(update), customer) {
            replies.push(notify(order, &customer, title, &text)?);
        }
        Ok(replies)
    }
}

fn of_order(reply: Reply, order: &str) -> Reply {
    reply.subject(format!("orders/{order}")).attr("partitionkey", order)
}

fn rejected(order: &str, what: What, reasons: Vec<Reason>) -> Result<Vec<Reply>, Failure> {
    let rejected = Rejected { order: order.into(), what, reasons };
    let reply = Reply::json("coffee.order.rejected", &rejected)?;
    // A subject and a key are not empty; an order without a name has neither.
    Ok(vec![if order.is_empty() { reply } else { of_order(reply, order) }])
}

fn notify(order: &str, customer: &str, title: &str, text: &str) -> Result<Reply, Failure> {
    let send = notifications::Send {
        channel: "push".into(),
        to: customer.into(),
        title: title.into(),
        text: text.into(),
        ..notifications::Send::default()
    };
    Ok(of_order(Reply::json("notification.send", &send)?, order))
}

fn thanks(accepted: &Accepted) -> String {
    let Accepted { order, total_cents, currency, points_earned, .. } = accepted;
    let earned = if *points_earned > 0 { format!(" You earn {points_earned} points.") } else { String::new() };
    format!("{order} is taken: {}.{:02} {currency}.{earned}", total_cents / 100, total_cents % 100)
}

/// What the customer hears of a change.
fn news(update: &Updated) -> Option<(&'static str, String)> {
    let Updated { order, to, reason, .. } = update;
    let because = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match to {
        State::Ready => Some(("Your coffee is ready", format!("{order} waits for you at the counter."))),
        State::Cancelled => Some(("Order cancelled", format!("{order} was cancelled{because}."))),
        State::Refunded => Some(("Order refunded", format!("{order} was paid back{because}."))),
        State::Accepted | State::Brewing | State::HandedOver => None,
    }
}

#[cfg(test)]
mod tests;
