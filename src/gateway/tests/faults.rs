//! Tests with apps that misbehave, and the responses that visitors get.

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, RETRY_AFTER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::engine::testing::eventually;
use crate::gateway::routes::UNANSWERED_MAX;

/// An app that accepts connections and runs `each` on them.
async fn raw<F>(each: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            open.spawn(each(stream));
        }
    });
    Server { address, connections, task }
}

/// Reads a request's head.
async fn read_head(stream: &mut tokio::net::TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test]
async fn connections_are_reused() {
    let front = Front::new().await;
    let app = serve(saying("ok")).await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    for _ in 0..50 {
        assert_eq!(front.get("/").await, (StatusCode::OK, "ok".to_owned()));
        let head = front.send(front.request(Method::HEAD, "/", Body::empty())).await;
        assert_eq!(head.status(), StatusCode::OK);
        let post = front.send(front.request(Method::POST, "/", Body::from("x"))).await;
        assert_eq!(text(post).await, "ok");
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
    assert_eq!(front.in_flight(), 0);
}

#[tokio::test]
async fn apps_can_close_connections_at_any_time() {
    let front = Front::new().await;
    // Announces keep-alive, and closes the connection at the next request.
    let rude = raw(async |mut stream| {
        if read_head(&mut stream).await {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let _ = read_head(&mut stream).await;
        }
    })
    .await;
    assert!(front.routes.set(&shop(), Prod, rude.upstream(1)).is_none());
    for _ in 0..50 {
        assert_eq!(front.get("/").await, (StatusCode::OK, "ok".to_owned()));
    }
    // Closes it at once without an announcement.
    let hasty = raw(async |mut stream| {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    assert!(front.routes.set(&shop(), Prod, hasty.upstream(2)).is_some());
    for _ in 0..50 {
        assert_eq!(front.get("/").await, (StatusCode::OK, "ok".to_owned()));
    }
}

#[tokio::test]
async fn each_failure_has_its_page() {
    let settings = GatewaySettings { head: Duration::from_millis(200), ..GatewaySettings::default() };
    let front = Front::with(settings).await;
    let show = async |accept: &str| {
        let mut request = front.request(Method::GET, "/", Body::empty());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_str(accept).expect("a value"));
        let response = front.send(request).await;
        (response.status(), response.headers().clone(), text(response).await)
    };
    assert!(front.routes.set_state(&shop(), Prod, RouteState::Starting).is_none());
    let (status, headers, page) = show("text/html,*/*").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[RETRY_AFTER], "2");
    assert!(page.contains("shop is starting") && page.contains("http-equiv=\"refresh\""), "{page}");
    assert!(!page.contains("<script") && headers[CONTENT_SECURITY_POLICY].to_str().expect("text").contains("'none'"));
    let (_, _, line) = show("application/json").await;
    assert!(line.starts_with("shop is starting.") && !line.contains('<'), "{line}");

    assert!(front.routes.set_state(&shop(), Prod, RouteState::Stopped).is_none());
    assert!(show("text/html").await.2.contains("shop is not running"));

    let gone = serve(saying("")).await.upstream(1);
    let refused = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let _ = front.routes.set(&shop(), Prod, Upstream { address: refused, ..gone });
    let (status, _, page) = show("text/html").await;
    assert_eq!((status, page.contains("shop did not answer")), (StatusCode::BAD_GATEWAY, true));

    let breaks = raw(async |mut stream| {
        read_head(&mut stream).await;
    })
    .await;
    let _ = front.routes.set(&shop(), Prod, breaks.upstream(2));
    assert_eq!(show("text/html").await.0, StatusCode::BAD_GATEWAY);

    let talks_nonsense = raw(async |mut stream| {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await;
    })
    .await;
    let _ = front.routes.set(&shop(), Prod, talks_nonsense.upstream(3));
    assert_eq!(show("text/html").await.0, StatusCode::BAD_GATEWAY);

    let silent = raw(async |mut stream| while stream.read_u8().await.is_ok() {}).await;
    let _ = front.routes.set(&shop(), Prod, silent.upstream(4));
    let (status, _, page) = show("text/html").await;
    assert_eq!((status, page.contains("shop takes too long")), (StatusCode::GATEWAY_TIMEOUT, true));
    eventually("nothing is on its way", LONG, async || front.in_flight() == 0).await;

    let nowhere = unknown_host("<b>x</b>", Some(&HeaderValue::from_static("text/html")));
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    let page = nowhere.into_body().collect().await.expect("a body").to_bytes();
    let page = String::from_utf8_lossy(&page);
    assert!(page.contains("&lt;b&gt;x&lt;/b&gt;") && !page.contains("<b>"), "{page}");
}

#[tokio::test]
async fn a_request_moves_to_the_replacement_of_its_instance() {
    let front = Front::new().await;
    let app = serve(saying("new")).await;
    // Accepts a connection; during the request the instance is replaced and dies.
    let (routes, upstream) = (front.routes.clone(), app.upstream(2));
    let dying = raw(move |mut stream| {
        let routes = routes.clone();
        async move {
            read_head(&mut stream).await;
            drop(routes.set(&shop(), Prod, upstream));
        }
    })
    .await;
    assert!(front.routes.set(&shop(), Prod, dying.upstream(1)).is_none());
    assert_eq!(front.get("/").await, (StatusCode::OK, "new".to_owned()));
}

#[tokio::test]
async fn cookies_and_addresses_are_protected_on_the_wire() {
    let front = Front::new().await;
    let app = serve(Router::new().fallback(|request: Request| async move {
        let headers = request.headers();
        let show = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let body = ["host", "cookie", "x-forwarded-for", "x-forwarded-host", "connection"].map(show).join("|");
        ([("set-cookie", "slipway_session=stolen"), ("x-app", "1")], body)
    }))
    .await;
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let mut request = front.request(Method::GET, "/", Body::empty());
    request.headers_mut().insert("cookie", HeaderValue::from_static("slipway_session=1; mine=2"));
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    let response = front.send(request).await;
    assert_eq!(response.headers()["x-app"], "1");
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(text(response).await, "shop.localhost|mine=2|127.0.0.1|shop.localhost|-");
}

#[tokio::test]
async fn an_overloaded_app_gets_a_limited_number_of_requests() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let waits = gate.clone();
    let app = serve(Router::new().fallback(move || async move {
        let _ = waits.acquire().await;
        "late"
    }))
    .await;
    let front = Arc::new(Front::new().await);
    assert!(front.routes.set(&shop(), Prod, app.upstream(1)).is_none());
    let ask = || {
        let front = front.clone();
        tokio::spawn(async move { front.get("/").await })
    };
    let waiting: Vec<_> = (0..UNANSWERED_MAX).map(|_| ask()).collect();
    eventually("all wait for the app", LONG, async || front.in_flight() == UNANSWERED_MAX).await;
    let refused = front.send(front.request(Method::GET, "/", Body::empty())).await;
    assert_eq!(
        (refused.status(), &refused.headers()[RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("2"))
    );
    assert!(text(refused).await.contains("is overloaded"));
    gate.close();
    for answer in waiting {
        assert_eq!(answer.await.expect("no panic"), (StatusCode::OK, "late".to_owned()));
    }
    assert_eq!(front.get("/").await, (StatusCode::OK, "late".to_owned()));
}
