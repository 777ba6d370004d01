//! Goal: what an operator gives up ends once, wherever it is, and nothing else does; a restart brings none of it back.

use router_core::{id::Offset, path::SkipError};

use super::{
    control::{Kept, name, start_on},
    *,
};

fn bus() -> BusName {
    BusName::new("default").unwrap()
}

async fn tail(path: &Path) -> u64 {
    path.status().await.unwrap().buses[0].tail.0
}

async fn waiting(path: &Path, route: &str) -> u64 {
    let status = path.status().await.unwrap();
    status.routes.iter().find(|r| r.name == name(route)).map_or(0, |r| r.waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_deliveries_end_wherever_they_are() {
    for kept in Kept::both() {
        let (down, well) = (sink("down"), sink("well"));
        let sinks = [(&down, None), (&well, None)];
        // Some fail by their own fault and wait for their next try, others wait for the target.
        down.flaky.store(true, Ordering::SeqCst);
        let path = start_on(kept.open().await, &sinks).await;
        publish(&path, 0, 1_000, |_| "t").await;
        down.down.store(true, Ordering::SeqCst);
        publish(&path, 1_000, 4_000, |_| "t").await;
        until("delivery to the other", || count(&well) == 4_000).await;
        let middle = tail(&path).await;
        publish(&path, 4_000, 4_500, |_| "t").await;
        until("delivery to the other", || count(&well) == 4_500).await;

        let would = path.skip(&name("down"), &bus(), Offset(middle), true).await.unwrap();
        assert!(would.ended >= 3_000 && would.below.0 == middle, "{would:?}");
        let done = path.skip(&name("down"), &bus(), Offset(middle), false).await.unwrap();
        assert!(done.ended >= 3_000 && done.ended <= would.ended, "{done:?} of {would:?}");
        assert_eq!(waiting(&path, "down").await, 500, "what lies behind is still owed");
        let ended = path.stats().routes();
        let ended: u64 = ended.iter().filter(|(route, _)| **route == name("down")).map(|(_, s)| s.ended.get()).sum();
        assert_eq!(ended, done.ended);
        let delivered = count(&down);
        assert_eq!(delivered as u64 + done.ended, 4_000);

        // Dropped as by a crash: what has ended stays so.
        drop(path);
        let path = start_on(kept.open().await, &sinks).await;
        assert_eq!(waiting(&path, "down").await, 500);
        down.flaky.store(false, Ordering::SeqCst);
        down.down.store(false, Ordering::SeqCst);
        until("delivery of what was left", || count(&down) == delivered + 500).await;
        settled(&path).await;
        assert_eq!(count(&down), delivered + 500);
        let none = path.skip(&name("down"), &bus(), Offset(u64::MAX), false).await.unwrap();
        assert_eq!((none.ended, none.below.0), (0, tail(&path).await));
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_not_configured_is_dropped() {
    for kept in Kept::both() {
        let (down, well) = (sink("down"), sink("well"));
        down.down.store(true, Ordering::SeqCst);
        let path = start_on(kept.open().await, &[(&down, None), (&well, None)]).await;
        publish(&path, 0, 1_500, |_| "t").await;
        until("delivery to the other", || count(&well) == 1_500).await;
        let refused = path.drop_route(&name("down"), false).await.unwrap_err();
        assert!(matches!(refused, SkipError::Configured(_)), "{refused}");
        let nowhere = path.drop_route(&name("nowhere"), false).await.unwrap_err();
        assert!(matches!(nowhere, SkipError::NoSuchRoute(_)), "{nowhere}");
        let not_there = path.skip_on(&name("down"), Some(&BusName::new("other").unwrap())).await.unwrap_err();
        assert!(matches!(not_there, SkipError::NotThere(..)), "{not_there}");
        path.pause(&name("down")).await.unwrap();

        path.revise(topology(&[(&well, None)])).await.unwrap();
        assert_eq!(path.drop_route(&name("down"), true).await.unwrap()[0].ended, 1_500);
        assert_eq!(path.drop_route(&name("down"), false).await.unwrap()[0].ended, 1_500);
        let status = path.status().await.unwrap();
        assert_eq!(status.routes.iter().filter(|r| r.name == name("down")).count(), 0, "it is history");

        // Configured again it begins anew, and is not paused.
        down.down.store(false, Ordering::SeqCst);
        path.revise(topology(&[(&down, None), (&well, None)])).await.unwrap();
        publish(&path, 1_500, 1_600, |_| "t").await;
        until("delivery to the new one", || count(&down) == 100).await;
        settled(&path).await;
        assert_eq!(count(&down), 100);
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}
