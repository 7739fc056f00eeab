//! Event streams: resumable, the same for all readers, complete after a restart.

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::builder::{Builder, send};
use crate::support::stream::{Event, joined};

fn assert_growing(events: &[Event]) {
    for pair in events.windows(2) {
        assert!(pair[0].id < pair[1].id, "ids only grow: {} before {}", pair[0].id, pair[1].id);
    }
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event() {
    let builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "0.3")]).await;
    let app = builder.create("static-site", "Streams").await;
    let job = builder.ask(&format!("/apps/{app}/turns"), &json!({"prompt": "Bright sails at noon"})).await;

    // One who watches from the beginning, and one who is thrown out again and again.
    let mut whole = builder.job_events(&job["id"], 0).await;
    let mut pieces: Vec<Event> = Vec::new();
    loop {
        let after = pieces.last().map_or(0, |event| event.id);
        let mut visit = builder.job_events(&job["id"], after).await;
        let seen = pieces.len();
        // The job may end at any moment; a stream after its last event is empty and ends.
        let first = tokio::time::timeout(PATIENCE, async {
            while visit.so_far().is_empty() && !visit.has_ended() {
                tokio::task::yield_now().await;
            }
        });
        first.await.expect("an event, or the end");
        let next = if visit.has_ended() { visit.read_out(PATIENCE).await } else { visit.so_far() };
        pieces.extend(next);
        assert_growing(&pieces);
        if pieces.last().is_some_and(|event| event.is_job("succeeded")) {
            break;
        }
        assert!(pieces.len() > seen, "a visit brings something as long as the job runs");
    }
    let whole = whole.read_out(PATIENCE).await;
    assert_growing(&whole);
    assert!(whole.iter().any(|event| event.name == "text"), "{whole:#?}");
    let writing = whole.iter().filter(|event| event.name == "file" && event.data["delta"].is_string()).count();
    assert!(writing > 5, "code appears while it is typed, not at once: {writing} pieces");
    assert_eq!(joined(&pieces), joined(&whole), "nothing lost, nothing doubled");

    // Somebody who comes afterwards reads the same.
    let mut late = builder.job_events(&job["id"], 0).await;
    let late = late.read_out(PATIENCE).await;
    assert_eq!(joined(&late), joined(&whole));
    assert_eq!(late.last(), whole.last());
    // Also from the middle of a text whose pieces were joined since.
    let middle = whole.iter().filter(|event| event.name == "file" && event.data["delta"].is_string()).nth(3);
    let middle = middle.expect("pieces of a file").id;
    let mut rest = builder.job_events(&job["id"], middle).await;
    let rest = rest.read_out(PATIENCE).await;
    let expected: Vec<Event> = whole.iter().filter(|event| event.id > middle).cloned().collect();
    assert_eq!(joined(&rest), joined(&expected));
}

#[tokio::test]
async fn all_readers_get_the_same_events_and_a_restart_loses_none() {
    let mut builder = Builder::start_with(&[("SLIPWAY_DEMO_PACE", "0.2")]).await;
    let app = builder.create("static-site", "Watched by two").await;
    let mut one = builder.events(&app, 0).await;
    let mut two = builder.events(&app, 0).await;
    let turn = builder.turn(&app, "Two windows").await;
    let is_end = |event: &Event| event.is_job("succeeded") && event.data["id"] == turn["id"];
    let last = one.wait("the end", PATIENCE, is_end).await;
    two.wait("the end", PATIENCE, is_end).await;
    let (one, two) = (one.so_far(), two.so_far());
    assert_growing(&one);
    assert_eq!(one, two);
    let heard: Vec<&str> = one.iter().map(|event| event.name.as_str()).collect();
    for name in ["job", "text", "file", "tool", "usage"] {
        assert!(heard.contains(&name), "{name} is among {heard:?}");
    }

    builder.restart().await;
    let mut again = builder.events(&app, 0).await;
    again.wait("the end", PATIENCE, is_end).await;
    assert_eq!(joined(&again.so_far()), joined(&one));

    // New events follow the ones that were received.
    let mut on = builder.events(&app, last.id).await;
    let next = builder.turn(&app, "Three windows").await;
    on.wait("the next turn's end", PATIENCE, |event| event.is_job("succeeded") && event.data["id"] == next["id"]).await;
    let on = on.so_far();
    assert_growing(&on);
    assert!(on[0].id > last.id, "ids keep increasing after a restart");
    assert!(on.iter().all(|event| event.name != "job" || event.data["id"] == next["id"]), "nothing old again");
}

#[tokio::test]
async fn invalid_event_ids_are_reported() {
    let builder = Builder::start().await;
    let app = builder.create("static-site", "Asked oddly").await;
    let path = format!("/apps/{app}/events");
    for odd in ["abc", "-4", "1e9", "99999999999999999999999"] {
        let request = builder.request(reqwest::Method::GET, &path).header("Last-Event-ID", odd);
        let answer = send(request).await;
        assert_eq!(answer.status, 400, "{odd}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn a_stop_ends_streams() {
    let mut builder = Builder::start().await;
    let app = builder.create("static-site", "Is listened to").await;
    let mut events = builder.events(&app, 0).await;
    assert_eq!(builder.stop().await, Some(0), "open streams do not hold up a stop");
    events.read_out(PATIENCE).await;
}
