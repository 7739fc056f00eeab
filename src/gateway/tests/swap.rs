//! Tests that replace instances under load without failed requests.

use super::*;
use crate::engine::testing::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_instances_are_replaced() {
    const SWAPS: u32 = 60;
    let front = Arc::new(Front::new().await);
    let mut current = serve(saying("ok")).await;
    assert!(front.routes.set(&shop(), Prod, current.upstream(0)).is_none());

    let stop = tokio_util::sync::CancellationToken::new();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..24_usize {
        let (front, stop, answered) = (Arc::clone(&front), stop.clone(), Arc::clone(&answered));
        workers.spawn(async move {
            let mut failures = Vec::new();
            while !stop.is_cancelled() {
                // Every third request has a body, which cannot be sent twice.
                let request = if n.is_multiple_of(3) {
                    let body =
                        Body::from_stream(futures_util::stream::iter([std::io::Result::Ok("some"), Ok("thing")]));
                    front.request(Method::POST, "/", body)
                } else {
                    front.request(Method::GET, "/", Body::empty())
                };
                let response = front.send(request).await;
                let status = response.status();
                let body = text(response).await;
                if status != StatusCode::OK || body != "ok" {
                    failures.push((status, body));
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            failures
        });
    }
    for release in 1..=SWAPS {
        let before = answered.load(Ordering::Relaxed);
        eventually("requests continue", LONG, async || answered.load(Ordering::Relaxed) >= before + 50).await;
        let next = serve(saying("ok")).await;
        let replaced = front.routes.set(&shop(), Prod, next.upstream(release)).expect("one was there");
        assert_eq!(replaced.upstream(), current.upstream(release - 1));
        assert_eq!(replaced.drained(LONG).await, Drained { clean: true });
        // After the drain it may be stopped.
        current = next;
    }
    stop.cancel();
    for failures in workers.join_all().await {
        assert_eq!(failures, []);
    }
    assert!(answered.load(Ordering::Relaxed) >= 50 * SWAPS as usize);
    assert!(current.connections.load(Ordering::SeqCst) <= 24, "connections are reused");
}

#[tokio::test]
async fn a_drain_waits_for_running_requests() {
    let front = Front::new().await;
    let (entered, release) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (tell, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let old = serve(Router::new().fallback(move || {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            "old"
        }
    }))
    .await;
    let new = serve(saying("new")).await;
    assert!(front.routes.set(&shop(), Prod, old.upstream(1)).is_none());
    assert!(front.routes.set(&shop(), Prod, old.upstream(1)).is_none(), "the same again changes nothing");

    let drained = async {
        entered.notified().await;
        assert_eq!(front.in_flight(), 1);
        let replaced = front.routes.set(&shop(), Prod, new.upstream(2)).expect("one was there");
        let mut drained = std::pin::pin!(replaced.drained(LONG));
        assert!(futures_util::poll!(drained.as_mut()).is_pending());
        assert_eq!(front.get("/").await, (StatusCode::OK, "new".to_owned()));
        assert!(futures_util::poll!(drained.as_mut()).is_pending());
        release.notify_one();
        drained.await
    };
    let (answer, drained) = tokio::join!(front.get("/"), drained);
    assert_eq!(answer, (StatusCode::OK, "old".to_owned()));
    assert_eq!(drained, Drained { clean: true });
}

#[tokio::test]
async fn the_table_lists_its_routes() {
    let front = Front::new().await;
    let app = serve(saying("ok")).await;
    let (routes, preview) = (&front.routes, Environment::Preview);
    assert!(routes.set_state(&shop(), preview, RouteState::Starting).is_none());
    assert!(routes.set(&shop(), Prod, app.upstream(7)).is_none());
    let states: Vec<_> = routes.snapshot().into_iter().map(|route| (route.environment, route.state)).collect();
    assert_eq!(states, [(preview, RouteState::Starting), (Prod, RouteState::Up(app.upstream(7)))]);
    assert_eq!(routes.state(&shop(), Prod), Some(RouteState::Up(app.upstream(7))));
    assert!(routes.set_state(&shop(), Prod, RouteState::Stopped).is_some());
    assert_eq!(front.get("/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(routes.remove(&shop(), Prod).is_none() && routes.remove(&shop(), preview).is_none());
    assert!(routes.snapshot().is_empty());
    assert_eq!(front.get("/").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn after_the_start_requests_wait_until_instances_are_known() {
    let front = Front::over(Routes::unknown(), GatewaySettings::default()).await;
    let app = serve(saying("ok")).await;
    front.routes.set_state(&shop(), Prod, RouteState::Starting);
    let found = async {
        // The first request waits; another route does not admit it.
        while front.routes.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        front.routes.set_state(&shop(), Environment::Preview, RouteState::Stopped);
        assert_eq!(front.routes.waiting(), 1);
        front.routes.set(&shop(), Prod, app.upstream(1));
    };
    let (answer, ()) = tokio::join!(front.get("/"), found);
    assert_eq!(answer, (StatusCode::OK, "ok".to_owned()));

    // Once instances are known, requests do not wait.
    front.routes.set_state(&shop(), Prod, RouteState::Stopped);
    let known = async {
        while front.routes.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        front.routes.are_known();
    };
    let (answer, ()) = tokio::join!(front.get("/"), known);
    assert_eq!(answer.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(front.get("/").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_waiting_request_has_a_timeout() {
    let settings = GatewaySettings { hold: Duration::from_millis(50), ..GatewaySettings::default() };
    let front = Front::over(Routes::unknown(), settings).await;
    front.routes.set_state(&shop(), Prod, RouteState::Starting);
    assert_eq!(front.get("/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(front.routes.waiting(), 0);
}
