//! What every answer of the builder says to browsers.

use axum::extract::{Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::Guard;
use crate::boot_script;
use crate::config::Config;

const ALWAYS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Where pages are reached by https, browsers ask for this host in no other way for a year. Not for hosts below it: what is
/// there is not ours to say.
const HTTPS_ALONE: &str = "max-age=31536000";

/// Adds them. An answer that has a policy of its own, a stricter one, keeps it.
pub(super) async fn add(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    set(response.headers_mut(), &guard.0.content_security_policy, guard.0.is_https);
    response
}

fn set(headers: &mut HeaderMap, policy: &HeaderValue, is_https: bool) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| policy.clone());
    if is_https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ALONE));
    }
}

/// Nothing but our own files, and apps in frames: they are reached by way of an address of ours that lets the frame in.
pub(super) fn content_security_policy(config: &Config) -> HeaderValue {
    let apps = config.public_url.replace("{host}", &format!("*.{}", config.apps_domain));
    // A link may go on with a path; a source of frames is an origin.
    let end = apps.find("://").and_then(|at| Some(at + 3 + apps[at + 3..].find('/')?)).unwrap_or(apps.len());
    let policy = format!(
        "default-src 'none'; script-src 'self' {}; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         font-src 'self'; frame-src 'self' {}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        boot_script::policy_source(),
        &apps[..end]
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_with_https_browsers_are_told_to_use_nothing_else() {
        let policy = HeaderValue::from_static("default-src 'none'");
        let told = |is_https| {
            let mut headers = HeaderMap::new();
            set(&mut headers, &policy, is_https);
            headers.get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(told(false), None);
        assert_eq!(told(true).as_deref(), Some("max-age=31536000"), "apps on hosts below are not spoken for");
    }

    #[test]
    fn frames_hold_apps_and_nothing_else() {
        let policy = |public_url: &str| {
            let environment = [("SLIPWAY_DOMAIN", "x.test"), ("SLIPWAY_PUBLIC_URL", public_url)];
            let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let config = Config::load(None, environment, &[]).expect("good");
            content_security_policy(&config).to_str().expect("text").to_owned()
        };
        assert!(policy("http://{host}:8080").contains("frame-src 'self' http://*.x.test:8080; "));
        assert!(policy("https://{host}/sub").contains("frame-src 'self' https://*.x.test; "));
    }
}
