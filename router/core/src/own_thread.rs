//! Threads of their own, for loops that write: there the disk is waited for in place, and nothing changes hands twice for
//! each write, which costs as much as a small write itself.

use std::{cell::Cell, thread};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::oneshot,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread was made by [`spawn`]: whoever blocks on it holds up nobody else.
pub fn here() -> bool {
    HERE.get()
}

/// Runs a loop on a thread of its own, as one of the set's tasks: it ends, at its next await, when its task is aborted or
/// the set is dropped. On a runtime of one thread, as simulations have it, and where the system has no thread left, it
/// is a task like others.
pub fn spawn(set: &mut JoinSet<()>, name: &str, run: impl Future<Output = ()> + Send + 'static) {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        set.spawn(run);
        return;
    }
    let (give, given) = oneshot::channel();
    let (over, end) = oneshot::channel::<()>();
    let aborted = CancellationToken::new();
    let abort = aborted.clone().drop_guard();
    let work = move || {
        HERE.set(true);
        let Ok(run) = given.blocking_recv() else { return };
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = aborted.cancelled() => {}
                () = run => {}
            }
        });
        drop(over);
    };
    match thread::Builder::new().name(name.into()).spawn(work) {
        Ok(_) => {
            set.spawn(async move {
                let _abort = abort;
                // Its other end is dropped when the loop is over, however it ended.
                end.await.unwrap_or_default();
            });
            give.send(run).unwrap_or_default();
        }
        Err(error) => {
            tracing::debug!(%error, name, "no thread of its own");
            set.spawn(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn loop_has_a_thread_and_ends_with_its_set() {
        let mut set = JoinSet::new();
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        let told = tx.clone();
        spawn(&mut set, "first", async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            told.send(here()).unwrap();
        });
        assert!(set.join_next().await.is_some());
        assert_eq!(rx.recv().await, Some(true));
        assert!(!here());
        spawn(&mut set, "second", async move {
            let _held = tx;
            std::future::pending().await
        });
        drop(set);
        let gone = tokio::time::timeout(Duration::from_secs(10), rx.recv());
        assert_eq!(gone.await, Ok(None), "what the loop held is dropped");
    }

    #[tokio::test]
    async fn loop_is_a_task_on_a_runtime_of_one_thread() {
        let mut set = JoinSet::new();
        let (tx, rx) = oneshot::channel();
        spawn(&mut set, "only", async move { tx.send(here()).unwrap_or_default() });
        assert!(set.join_next().await.is_some());
        assert_eq!(rx.await, Ok(false));
    }
}
