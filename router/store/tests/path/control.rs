//! What an operator changes while the path runs, over memory and over disk.

use tempfile::TempDir;

use super::*;

/// A store, and how to open it again after a stop.
pub enum Kept {
    Memory(Arc<MemoryStore>),
    Disk(TempDir),
}

impl Kept {
    pub fn both() -> [Kept; 2] {
        [Kept::Memory(Arc::new(MemoryStore::with_gaps(3))), Kept::Disk(tempfile::tempdir().unwrap())]
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        match self {
            Kept::Memory(store) => store.clone(),
            Kept::Disk(dir) => {
                // What a dropped path had under way holds the folder for a moment longer.
                for _ in 0..500 {
                    match DiskStore::open(dir.path(), Options::default()).await {
                        Err(router_store::store::Error::Lock(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                        opened => return Arc::new(opened.unwrap()),
                    }
                }
                panic!("the folder stays locked");
            }
        }
    }
}

pub async fn start_on(store: Arc<dyn Store>, sinks: &[(&Arc<Sink>, Option<&str>)]) -> Path {
    Path::start(store, topology(sinks), Arc::new(SystemClock::new())).await.unwrap()
}

pub fn name(route: &str) -> RouteName {
    RouteName::new(route).unwrap()
}

/// Goal: a pause holds one route, over a restart too, and costs neither it nor another one anything.
#[tokio::test(flavor = "multi_thread")]
async fn paused_route_keeps_what_it_is_owed_over_a_restart() {
    for kept in Kept::both() {
        let (held, well) = (sink("held"), sink("well"));
        let sinks = [(&held, None), (&well, None)];
        let path = start_on(kept.open().await, &sinks).await;
        publish(&path, 0, 10, |_| "t").await;
        until("delivery", || count(&held) == 10 && count(&well) == 10).await;
        settled(&path).await;
        let done = path.pause(&name("held")).await.unwrap().unwrap();
        assert_eq!((done.changed, done.waiting), (true, 0));
        assert_eq!(path.pause(&name("nowhere")).await.unwrap(), None);
        publish(&path, 10, 500, |_| "t").await;
        until("delivery to the other", || count(&well) == 500).await;
        path.stop(Duration::from_secs(5)).await.unwrap();
        drop(path);

        let path = start_on(kept.open().await, &sinks).await;
        publish(&path, 500, 600, |_| "t").await;
        until("delivery to the other", || count(&well) == 600).await;
        let status = path.status().await.unwrap();
        let route = status.routes.iter().find(|r| r.name == name("held")).unwrap();
        assert_eq!((route.waiting, route.state), (590, LaneStateName::Paused));
        assert!(route.paused_since.is_some());
        assert_eq!(count(&held), 10, "nothing while it is paused");
        let done = path.resume(&name("held")).await.unwrap().unwrap();
        assert_eq!((done.changed, done.waiting), (true, 590));
        until("delivery of what was held", || count(&held) == 600).await;
        settled(&path).await;
        one_id_each(&held);
        path.stop(Duration::from_secs(5)).await.unwrap();
    }
}
