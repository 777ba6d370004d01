//! Goal: the handler keeps the latest prices, proposes what gains, and says what is wrong with an update.

mod samples;

use function_host::{Failure, Function, Host, Kind, Settings};
use jiff::Timestamp;
use schemas::{Event, Form, payload::defi::Opportunity};
use serde_json::{Value, json};

use crate::DefiScanner;

const NOW: &str = "2026-01-15T06:30:31.144Z";

fn event(at: &str, data: &Value) -> Event {
    let event = Event::builder("1", "/defi/feed", "defi.price.update").attr("time", at);
    event.data(Form::Json, data.to_string()).build().unwrap()
}

fn host() -> Host<DefiScanner> {
    Host::for_tests(Settings::default(), NOW.parse::<Timestamp>().unwrap()).unwrap()
}

fn pool(venue: &str, base: &str, quote: &str) -> Value {
    let pool = json!({"reserve_base": base, "reserve_quote": quote, "fee_parts": 3000});
    json!({"pair": "WETH/USDC", "venue": venue, "quote_decimals": 6, "pool": pool})
}

async fn call(host: &Host<DefiScanner>, at: &str, data: Value) -> Result<Vec<(Event, Opportunity)>, Failure> {
    let events = host.call(event(at, &data)).await?;
    Ok(events.into_iter().map(|e| (e.clone(), serde_json::from_slice(e.data()).unwrap())).collect())
}

#[tokio::test]
async fn two_pools_apart_make_a_proposal_with_its_way() {
    let host = host();
    assert_eq!(call(&host, NOW, pool("uniswap-v2", "1000", "2000000")).await.unwrap(), []);
    let found = call(&host, NOW, pool("sushiswap", "1000", "2100000")).await.unwrap();
    let [(event, proposal)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((event.kind(), event.source()), ("defi.arbitrage.opportunity", "/functions/defi-scanner"));
    assert_eq!(event.get("partitionkey").unwrap().to_string(), "USDC");
    let way: Vec<_> =
        proposal.path.iter().map(|hop| (hop.venue.as_str(), hop.from.as_str(), hop.to.as_str())).collect();
    assert_eq!(way, [("uniswap-v2", "USDC", "WETH"), ("sushiswap", "WETH", "USDC")]);
    assert_eq!(proposal.gas, "1");
    assert_eq!(proposal.expires_at, "2026-01-15T06:31:01.144Z");
    let number = |text: &str| text.parse::<f64>().unwrap();
    let (profit, sure) = (number(&proposal.profit), number(&proposal.profit_min));
    let input = number(&proposal.amount_in);
    assert!((profit - (number(&proposal.amount_out) - input - 1.0)).abs() < 1e-6);
    assert!((sure - (number(&proposal.amount_out_min) - input - 1.0)).abs() < 1e-6);
    assert!(sure > 1.0 && profit > sure, "{proposal:?}");
    // USDC moves in millionths.
    assert!(proposal.amount_in.split_once('.').is_none_or(|(_, part)| part.len() <= 6));
}

#[tokio::test]
async fn quote_and_pool_meet() {
    let host = host();
    call(&host, NOW, pool("uniswap-v2", "1000", "2000000")).await.unwrap();
    let quote = json!({"bid": "2050", "bid_size": "3", "ask": "2051", "ask_size": "3", "fee_parts": 1000});
    let book = json!({"pair": "WETH/USDC", "venue": "kraken", "quote_decimals": 6, "quote": quote});
    let found = call(&host, NOW, book).await.unwrap();
    let (_, proposal) = &found[0];
    assert_eq!((proposal.path[0].venue.as_str(), proposal.path[1].venue.as_str()), ("uniswap-v2", "kraken"));
    let sold: f64 = proposal.path[1].amount_in.parse().unwrap();
    assert!(sold <= 3.0 && sold > 2.999, "{proposal:?}");
}

#[tokio::test]
async fn late_and_early_prices_are_kept_out() {
    let host = host();
    // A quote of four seconds ago is too old for a quote, and a pool of half a minute ago just not.
    let quote = json!({"bid": "2500", "bid_size": "3", "ask": "2501", "ask_size": "3", "fee_parts": 1000});
    let book = json!({"pair": "WETH/USDC", "venue": "kraken", "quote": quote});
    call(&host, "2026-01-15T06:30:27Z", book).await.unwrap();
    assert_eq!(call(&host, NOW, pool("uniswap-v2", "1000", "2000000")).await.unwrap(), []);
    assert_eq!(call(&host, "2026-01-15T06:30:02Z", pool("sushiswap", "1000", "2100000")).await.unwrap().len(), 1);
    // An older price of a market does not replace a newer one.
    assert_eq!(call(&host, "2026-01-15T06:30:01Z", pool("sushiswap", "1000", "2200000")).await.unwrap(), []);
    let failure = call(&host, "2026-01-15T06:31:00Z", pool("x", "1", "1")).await.unwrap_err();
    assert_eq!(failure.code.to_string(), "time-ahead");
}

#[tokio::test]
async fn indication_is_taken_and_proposes_nothing() {
    let data = json!({"pair": "COFFEE/USDT", "price_micros": 1820563, "change_basis_points": 164,
        "volume_24h": 72514664, "block": 21600002, "venue": "uniswap-v3"});
    assert_eq!(call(&host(), NOW, data).await.unwrap(), []);
}

#[tokio::test]
async fn repeat_proposes_the_same() {
    let host = host();
    call(&host, NOW, pool("uniswap-v2", "1000", "2000000")).await.unwrap();
    let first = call(&host, NOW, pool("sushiswap", "1000", "2100000")).await.unwrap();
    assert_eq!(first, call(&host, NOW, pool("sushiswap", "1000", "2100000")).await.unwrap());
}

#[tokio::test]
async fn update_that_cannot_be_used_is_refused_with_its_place() {
    let with = |change: Value| {
        let mut data = pool("v", "1", "1");
        data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        data
    };
    let of = |name: &str, value: Value| {
        let mut data = pool("v", "1", "1");
        data["pool"][name] = value;
        data
    };
    let quote = json!({"bid": "1", "bid_size": "3", "ask": "2", "ask_size": "3", "fee_parts": 1000});
    for (data, place) in [
        (with(json!({"pair": "WETH"})), "data.pair"),
        (with(json!({"pair": "WETH/WETH"})), "data.pair"),
        (with(json!({"pair": "A/B/C"})), "data.pair"),
        (with(json!({"venue": ""})), "data.venue"),
        (with(json!({"market": "m".repeat(129)})), "data.market"),
        (with(json!({"base_decimals": 19})), "data.base_decimals"),
        (with(json!({"quote": quote})), "data: a pool and a quote"),
        (of("reserve_base", json!("-1")), "data.pool.reserve_base"),
        (of("reserve_quote", json!("1e400")), "data.pool.reserve_quote"),
        (of("reserve_quote", json!(5)), "data.pool.reserve_quote"),
        (of("fee_parts", json!(1_000_000)), "data.pool.fee_parts"),
        (of("fee_parts", Value::Null), "data.pool.fee_parts"),
    ] {
        let failure = call(&host(), NOW, data).await.unwrap_err();
        assert_eq!(failure.kind, Kind::Refuse);
        assert!(failure.message.starts_with(place), "{}: {}", place, failure.message);
    }
    let no_time = Event::builder("1", "/x", "defi.price.update").data(Form::Json, pool("v", "1", "1").to_string());
    let failure = host().call(no_time.build().unwrap()).await.unwrap_err();
    assert_eq!(failure.code.to_string(), "time-missing");
}

#[test]
fn setting_that_cannot_be_used_ends_the_start() {
    let start = |name: &str, value: &str| DefiScanner::start(&[(name, value)].into_iter().collect()).map(|_| ());
    for (name, value) in [
        ("DEFI_HOPS_MAX", "7"),
        ("DEFI_HOPS_MAX", "many"),
        ("DEFI_SLIPPAGE_PARTS", "-1"),
        ("DEFI_QUOTE_AGE_MAX_MS", "0"),
        ("DEFI_BASES", "[]"),
        ("DEFI_BASES", "USDC"),
        ("DEFI_BASES", r#"[{"token":"USDC","gas":"a","profit_min":"1","input_max":"1"}]"#),
        ("DEFI_BASES", r#"[{"token":"USDC","gas":"0","profit_min":"1","input_max":"0"}]"#),
    ] {
        assert_eq!(&*start(name, value).unwrap_err().name, name, "{value}");
    }
    assert!(start("DEFI_HOPS_MAX", "6").is_ok());
}
