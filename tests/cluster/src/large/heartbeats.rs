//! Heartbeats of all Nodes: a change of a Node's status each, as often as kubelets send them when nothing happens.
//! Leases, which kubelets renew more often, are no part of a Node, and nobody's here to watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::Extent;
use super::agents;
use super::crowd;
use super::host::Host;
use super::idle;
use super::report::Figures;
use super::site::Site;

/// They go on until this is dropped.
pub struct Heartbeats {
    sent: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeats {
    /// Begins with them, from the Nodes of the crowd and then from those of the agents, in turn.
    pub fn start(site: &Site, extent: &Extent) -> Self {
        let (sent, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end, writer) = (Arc::clone(&sent), Arc::clone(&done), site.writer());
        let pause = Duration::from_secs_f64(1.0 / extent.heartbeats_a_second());
        let agents = (0..extent.agents).map(agents::name);
        let names: Vec<String> = (0..extent.nodes).map(crowd::name).chain(agents).collect();
        let beat = move || {
            writer.run(|client| async move {
                let nodes = crowd::nodes(&client);
                let mut pause = interval(pause);
                pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for (beat, name) in names.iter().cycle().enumerate() {
                    pause.tick().await;
                    if end.load(Ordering::Relaxed) {
                        return;
                    }
                    let time = format!(
                        "2026-01-01T{:02}:{:02}:{:02}Z",
                        beat / 3600 % 24,
                        beat / 60 % 60,
                        beat % 60
                    );
                    let ready =
                        json!([{ "type": "Ready", "status": "True", "lastHeartbeatTime": time }]);
                    let patch = Patch::Strategic(json!({ "status": { "conditions": ready } }));
                    let sent = nodes.patch_status(name, &PatchParams::default(), &patch).await;
                    // An agent's Node is not there at first.
                    count.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
                }
            });
        };
        Self { sent, done, thread: Some(thread::spawn(beat)) }
    }

    /// What hosts hear and do while nothing happens but heartbeats: the worst of them.
    pub fn alone(&self, hosts: &[&Host], window: Duration, figures: &mut Figures) {
        let sent = self.sent.load(Ordering::Relaxed);
        let seconds = idle::measure(hosts, window, figures);
        let sent = self.sent.load(Ordering::Relaxed) - sent;
        assert!(sent > 0, "no heartbeat was sent");
        figures.heartbeats = Some(sent as f64 / seconds);
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
