//! Changes of headers between clients and apps. Pure.

use axum::body::Body;
use axum::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT,
    FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};

use super::ClientInfo;
use crate::domain::name::strip_port;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Hop-by-hop headers, in addition to `Connection` and the headers that it names.
const HOP_BY_HOP: [HeaderName; 7] =
    [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE];
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// Prefix of the builder's cookies.
const OUR_COOKIES: &str = "slipway_";

/// The protocol that a request wants to upgrade to.
pub(super) fn upgrade_of(request: &Request<Body>) -> Option<HeaderValue> {
    let protocol = request.headers().get(UPGRADE)?;
    let asked = request.version() == Version::HTTP_11 && lists(request.headers(), "upgrade");
    asked.then(|| protocol.clone())
}

/// Whether a `Connection` header names `token`.
fn lists(headers: &HeaderMap, token: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Converts a client's request to a request to the app.
pub(super) fn prepare_request(request: &mut Request<Body>, client: &ClientInfo, upgrade: Option<&HeaderValue>) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(path).unwrap_or_else(|_| Uri::from_static("/"));
    }
    let headers = request.headers_mut();
    let wants_trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    remove_hop_by_hop(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if is_chunked {
        // The body gets a new chunked encoding. Both lengths at once would allow request smuggling.
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    // The builder answers it itself: it requests the body as soon as the app reads it.
    headers.remove(EXPECT);
    headers.insert(HOST, client.host.clone());
    remove_look_alikes(headers);
    forwarded(headers, client);
    strip_cookies(headers);
}

fn forwarded(headers: &mut HeaderMap, client: &ClientInfo) {
    // Canonical form: an IPv4 client of a dual-stack socket is reported as IPv4.
    let ip = client.ip.to_canonical().to_string();
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
    if client.is_proxy {
        let chain = match headers.get(X_FORWARDED_FOR).and_then(|before| before.to_str().ok()) {
            Some(before) => format!("{before}, {ip}"),
            None => ip,
        };
        headers.insert(X_FORWARDED_FOR, value(chain));
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(client.scheme));
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| client.host.clone());
    } else {
        let claims: Vec<_> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
        for claim in claims {
            headers.remove(claim);
        }
        headers.insert(X_FORWARDED_FOR, value(ip));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
        headers.insert(X_FORWARDED_HOST, client.host.clone());
    }
}

/// Whether a header of this name describes the client and its connection, which only the gateway may set.
fn is_claim(name: &str) -> bool {
    name == FORWARDED.as_str() || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// Whether a header of this name frames a message, routes it, or is set only by the gateway. A client must not be able
/// to set it by other means.
fn is_owned(name: &str) -> bool {
    is_claim(name)
        || HOP_BY_HOP.iter().any(|owned| name == owned.as_str())
        || [CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST].iter().any(|owned| name == owned.as_str())
}

/// Removes headers that are spelled with an underscore, and that servers which pass headers as variables (CGI, WSGI)
/// confuse with one of the gateway's: both become `HTTP_X_FORWARDED_FOR`.
fn remove_look_alikes(headers: &mut HeaderMap) {
    let is_look_alike = |name: &str| name.contains('_') && is_owned(&name.replace('_', "-"));
    let names: Vec<_> = headers.keys().filter(|name| is_look_alike(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes trailers of a request that may not follow a body (RFC 9110, 6.5.1): those that frame or route the message,
/// describe or identify the client, or describe the content. Some servers merge trailers into the headers.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    const BEFORE_THE_BODY: [HeaderName; 6] =
        [AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, SET_COOKIE, TRAILER];
    let is_forbidden = |name: &str| {
        let name = name.replace('_', "-");
        is_owned(&name) || BEFORE_THE_BODY.iter().any(|other| name == other.as_str())
    };
    let names: Vec<_> = trailers.keys().filter(|name| is_forbidden(name.as_str())).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Converts an app's response to a response to the client, which requested `host`.
pub(super) fn prepare_response(response: &mut Response<Body>, host: &HeaderValue) {
    let upgrade = (response.status() == axum::http::StatusCode::SWITCHING_PROTOCOLS)
        .then(|| response.headers().get(UPGRADE).cloned())
        .flatten();
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    // Browsers clear cookies for the whole site, including those of the builder and of other apps.
    headers.remove(CLEAR_SITE_DATA);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if headers.contains_key(SET_COOKIE) {
        let host = strip_port(host.to_str().unwrap_or_default()).trim_end_matches('.').to_ascii_lowercase();
        refuse_cookies(headers, &host);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // A client must not be able to remove the headers that identify it to the app.
            .filter(|name| *name != HOST && *name != COOKIE && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes the builder's cookies from a request.
fn strip_cookies(headers: &mut HeaderMap) {
    if !headers.get_all(COOKIE).iter().any(|value| mentions_ours(value.as_bytes())) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| {
            let pairs = value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii);
            let kept: Vec<_> = pairs.filter(|pair| !pair.is_empty() && !is_ours(cookie_name(pair))).collect();
            if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok() }
        })
        .collect();
    headers.remove(COOKIE);
    for value in kept {
        headers.append(COOKIE, value);
    }
}

fn mentions_ours(value: &[u8]) -> bool {
    value.windows(OUR_COOKIES.len()).any(|part| part.eq_ignore_ascii_case(OUR_COOKIES.as_bytes()))
}

fn cookie_name(pair: &[u8]) -> &[u8] {
    pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii()
}

/// Whether a cookie is the builder's, with or without a cookie prefix.
fn is_ours(name: &[u8]) -> bool {
    let mut name = name.to_ascii_lowercase();
    for prefix in ["__host-", "__secure-"] {
        if name.starts_with(prefix.as_bytes()) {
            name.drain(..prefix.len());
        }
    }
    name.starts_with(OUR_COOKIES.as_bytes())
}

/// Removes cookies that an app may not set: the builder's, and those for other hosts.
fn refuse_cookies(headers: &mut HeaderMap, host: &str) {
    if headers.get_all(SET_COOKIE).iter().all(|cookie| may_be_set(cookie.as_bytes(), host)) {
        return;
    }
    let kept: Vec<_> =
        headers.get_all(SET_COOKIE).iter().filter(|cookie| may_be_set(cookie.as_bytes(), host)).cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in kept {
        headers.append(SET_COOKIE, cookie);
    }
}

fn may_be_set(cookie: &[u8], host: &str) -> bool {
    let mut parts = cookie.split(|b| *b == b';');
    let pair = parts.next().unwrap_or_default();
    let name = cookie_name(pair);
    // `=name=value` is a value without a name, but some servers parse it as `name=value`.
    let behind = if name.is_empty() { cookie_name(pair.trim_ascii().get(1..).unwrap_or_default()) } else { name };
    if is_ours(behind) {
        return false;
    }
    parts.all(|attribute| {
        let mut halves = attribute.splitn(2, |b| *b == b'=');
        if !halves.next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"domain") {
            return true;
        }
        let domain = halves.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let domain = String::from_utf8_lossy(&domain);
        let domain = domain.trim_start_matches('.');
        domain.is_empty() || domain == host || domain.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientInfo {
        ClientInfo {
            is_proxy: false,
            ip: "::ffff:192.0.2.7".parse().expect("an address"),
            scheme: "http",
            host: HeaderValue::from_static("shop.localhost:8080"),
        }
    }

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut builder = Request::get("http://shop.localhost:8080/a?b=c");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).expect("a request")
    }

    fn prepared(headers: &[(&str, &str)], trusted: bool) -> Request<Body> {
        let mut request = request(headers);
        prepare_request(&mut request, &ClientInfo { is_proxy: trusted, ..client() }, None);
        request
    }

    fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|v| v.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn a_client_cannot_set_our_headers_in_another_way() {
        let named = |request: &Request<Body>, name: &str| request.headers().contains_key(name);
        for trusted in [false, true] {
            let request = prepared(
                &[
                    ("x_forwarded_for", "1.2.3.4"),
                    ("X_Real-IP", "1.2.3.4"),
                    ("content_length", "9"),
                    ("my_header", "1"),
                ],
                trusted,
            );
            for name in ["x_forwarded_for", "x_real-ip", "content_length"] {
                assert!(!named(&request, name), "{name}");
            }
            assert!(named(&request, "my_header"), "other headers are passed on");
        }
        let request = prepared(&[("x-forwarded-prefix", "/x"), ("x-forwarded-ssl", "on"), ("x-forwarder", "1")], false);
        assert!(!named(&request, "x-forwarded-prefix") && !named(&request, "x-forwarded-ssl"));
        assert!(named(&request, "x-forwarder"));

        let mut trailers = HeaderMap::new();
        for name in
            ["x-forwarded-for", "x_forwarded_for", "forwarded", "host", "cookie", "content-type", "digest", "x-sum"]
        {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        clean_trailers(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["digest", "x-sum"]);
    }

    #[test]
    fn only_the_gateway_sets_the_clients_address() {
        let claims = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let sent = prepared(&claims, false);
        assert_eq!(sent.uri(), "/a?b=c");
        assert_eq!(all(sent.headers(), "host"), ["shop.localhost:8080"]);
        assert_eq!(all(sent.headers(), "x-forwarded-for"), ["192.0.2.7"]);
        assert_eq!(all(sent.headers(), "x-forwarded-proto"), ["http"]);
        assert_eq!(all(sent.headers(), "x-forwarded-host"), ["shop.localhost:8080"]);
        assert!(!sent.headers().contains_key("forwarded") && !sent.headers().contains_key("x-real-ip"));

        let sent = prepared(&claims, true);
        assert_eq!(all(sent.headers(), "x-forwarded-for"), ["6.6.6.6, 192.0.2.7"]);
        assert_eq!(all(sent.headers(), "x-forwarded-proto"), ["https"]);
    }

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let sent = prepared(
            &[
                ("connection", "close, x-secret, cookie"),
                ("x-secret", "1"),
                ("cookie", "a=1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("transfer-encoding", "chunked"),
                ("content-length", "5"),
                ("expect", "100-continue"),
                ("accept", "*/*"),
            ],
            false,
        );
        for gone in ["connection", "x-secret", "keep-alive", "upgrade", "content-length", "expect"] {
            assert!(!sent.headers().contains_key(gone), "{gone}");
        }
        assert_eq!(all(sent.headers(), "transfer-encoding"), ["chunked"]);
        assert_eq!(all(sent.headers(), "te"), ["trailers"]);
        assert_eq!(all(sent.headers(), "cookie"), ["a=1"]);
        assert_eq!(all(sent.headers(), "accept"), ["*/*"]);
        assert!(upgrade_of(&request(&[("upgrade", "websocket")])).is_none(), "not without Connection");
        let asked = request(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]);
        assert_eq!(upgrade_of(&asked), Some(HeaderValue::from_static("websocket")));
    }

    #[test]
    fn the_builders_cookies_do_not_reach_apps() {
        let sent = prepared(
            &[("cookie", "a=1; slipway_session=x; b=slipway_2"), ("cookie", "__Host-slipway_s=y"), ("cookie", "c=3")],
            false,
        );
        assert_eq!(all(sent.headers(), "cookie"), ["a=1; b=slipway_2", "c=3"]);
        assert!(!prepared(&[("cookie", "SLIPWAY_session=x")], false).headers().contains_key("cookie"));
    }

    #[test]
    fn an_app_cannot_clear_data_of_the_whole_site() {
        let mut response = Response::builder()
            .header("Clear-Site-Data", "\"cookies\"")
            .header("clear-site-data", "\"*\"")
            .header("x-other", "kept")
            .body(Body::empty())
            .expect("a response");
        prepare_response(&mut response, &client().host);
        assert!(!response.headers().contains_key("clear-site-data") && response.headers().contains_key("x-other"));
    }

    #[test]
    fn apps_can_set_cookies_only_for_their_own_host() {
        for (cookie, allowed) in [
            ("a=1; Path=/; HttpOnly", true),
            ("a=1; Domain=shop.localhost", true),
            ("a=1; domain=.SHOP.localhost", true),
            ("a=1; Domain=x.shop.localhost", true),
            ("a=1; Domain=", true),
            ("a=1; Domain=localhost", false),
            ("a=1; Domain = .localhost ; Path=/", false),
            ("a=1; Domain=shop.localhost; Domain=localhost", false),
            ("a=1; Domain=othershop.localhost", false),
            ("slipway_session=1", false),
            (" Slipway_session =1; Path=/", false),
            ("__Host-slipway_session=1; Secure; Path=/", false),
            ("=slipway_session=1", false),
            ("notslipway_=1", true),
        ] {
            let mut response = Response::builder()
                .header("set-cookie", "kept=1")
                .header("set-cookie", cookie)
                .header("connection", "close")
                .header("x-other", "kept")
                .body(Body::empty())
                .expect("a response");
            prepare_response(&mut response, &client().host);
            let cookies = all(response.headers(), "set-cookie");
            assert_eq!(cookies.len(), 1 + usize::from(allowed), "{cookie}: {cookies:?}");
            assert!(!response.headers().contains_key("connection") && response.headers().contains_key("x-other"));
        }
    }
}
