//! Watches the engine's events and converts them into events of instances.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use super::super::{InstanceEvent, InstanceEventKind, InstanceState, RuntimeError};
use super::DockerRuntime;
use super::inspect::instance;
use super::logs::driven_by;
use crate::engine::{self, Fault};

/// Shortest pause before the watch reconnects to the engine.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Maximum number of events that are buffered for a slow reader.
const BUFFERED_EVENTS: usize = 256;

impl DockerRuntime {
    pub(in super::super) fn watch(&self) -> BoxStream<'static, InstanceEvent> {
        let (sender, receiver) = mpsc::channel(BUFFERED_EVENTS);
        let runtime = self.clone();
        let work = async move {
            let mut pause = PAUSE_MIN;
            while !sender.is_closed() {
                match runtime.watch_until_lost(&sender).await {
                    // The engine answered: reconnect soon.
                    Ok(()) => pause = PAUSE_MIN,
                    Err(error) => {
                        tracing::debug!(%error, "the engine's events cannot be read");
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
                tokio::time::sleep(pause).await;
            }
        };
        driven_by(receiver, work)
    }

    /// Sends the current state of every instance, then forwards events until the connection is lost.
    async fn watch_until_lost(&self, sender: &mpsc::Sender<InstanceEvent>) -> Result<(), RuntimeError> {
        let mut filter = self.installation().filter();
        filter.insert("type".to_owned(), vec!["container".to_owned()]);
        filter.insert("event".to_owned(), ["start", "die", "oom"].map(str::to_owned).into());
        // Events are requested from the moment before the list is read, so that no event is missed in between and no older
        // one arrives. The time is the engine's own, because the clocks may differ.
        let info = engine::call(engine::QUICK, self.docker().info()).await?;
        let now = info.system_time.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let now = now.unwrap_or_else(|| crate::domain::Clock::System.now());
        let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond());
        for found in self.instances().await? {
            let kind = match found.state {
                InstanceState::Running => InstanceEventKind::Started,
                // The reconcile starts a live one again. The others need no event.
                InstanceState::Created | InstanceState::Paused => continue,
                InstanceState::Restarting | InstanceState::Stopped => {
                    InstanceEventKind::Died { code: None, oom: false }
                }
            };
            if sender.send(InstanceEvent { instance: found.instance, kind }).await.is_err() {
                return Ok(());
            }
        }
        self.inner.reached.send_modify(|count| *count = count.wrapping_add(1));
        let options = EventsOptionsBuilder::new().since(&since).filters(&filter).build();
        let mut events = std::pin::pin!(self.docker().events(Some(options)));
        let mut out_of_memory = HashSet::new();
        while let Some(event) = events.next().await {
            let event = event.map_err(Fault::from)?;
            let Some(event) = self.read(event, &mut out_of_memory).await else { continue };
            if sender.send(event).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, event: EventMessage, out_of_memory: &mut HashSet<String>) -> Option<InstanceEvent> {
        let actor = event.actor?;
        let id = actor.id?;
        let labels: HashMap<String, String> = actor.attributes?;
        let kind = match event.action?.as_str() {
            "oom" => {
                out_of_memory.insert(id);
                return None;
            }
            "start" => InstanceEventKind::Started,
            "die" => {
                let code = labels.get("exitCode").and_then(|code| code.parse().ok());
                InstanceEventKind::Died { code, oom: out_of_memory.remove(&id) }
            }
            _ => return None,
        };
        let name = labels.get("name").map_or("", String::as_str);
        let mut instance = instance(id, name, &labels, None)?;
        if kind == InstanceEventKind::Started && instance.address.is_none() {
            // The engine chose its address, so it has to be read from the engine.
            instance = self.inspect(&instance.id).await.ok()??.instance().ok()?;
        }
        Some(InstanceEvent { instance, kind })
    }
}
