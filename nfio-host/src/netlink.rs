//! The kernel's links by rtnetlink, in whichever network namespace: what drivers and chains have in common.

use futures_util::TryStreamExt;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use rtnetlink::Handle;
use rtnetlink::packet_route::link::LinkMessage;
use std::fs::File;
use std::future::Future;
use std::io;
use std::thread;

use crate::fault;

/// Runs `work` on a thread of its own in that network namespace; /proc/sys/net is the one of the thread that
/// opens it.
pub(crate) fn in_netns<T: Send>(netns: File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let share = fault::share();
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
            let _watch = share();
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            work()
        })?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the network thread panicked")))
    })
}

/// Runs `work` with a netlink socket of the calling thread's network namespace.
pub(crate) fn netlink<T>(work: impl AsyncFnOnce(Handle) -> io::Result<T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let run: std::pin::Pin<Box<dyn Future<Output = io::Result<T>>>> = Box::pin(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle).await
    });
    runtime.block_on(run)
}

/// All links of the calling thread's network namespace.
pub(crate) async fn links(handle: &Handle) -> io::Result<Vec<LinkMessage>> {
    handle.link().get().execute().try_collect().await.map_err(io::Error::other)
}

/// The index of a link.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

/// Says what was done to which interface when it failed.
pub(crate) fn said(doing: &str, name: &str, result: Result<(), rtnetlink::Error>) -> io::Result<()> {
    result.map_err(|e| io::Error::other(format!("{doing} the interface {name}: {e}")))
}
