//! Security headers of every response of the builder.

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

/// With https, browsers use only https for this host for a year. It does not include subdomains, which
/// belong to apps.
const HTTPS_ONLY: &str = "max-age=31536000";

/// Adds the headers. A response with its own, stricter policy keeps it.
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
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ONLY));
    }
}

/// Allows only our own files, and apps in frames, which open through an address of the builder.
pub(super) fn content_security_policy(config: &Config) -> HeaderValue {
    let apps = config.public_url.replace("{host}", &format!("*.{}", config.apps_domain));
    // A URL may have a path; a frame source is an origin.
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
    fn hsts_is_sent_only_with_https() {
        let policy = HeaderValue::from_static("default-src 'none'");
        let hsts = |is_https| {
            let mut headers = HeaderMap::new();
            set(&mut headers, &policy, is_https);
            headers.get(STRICT_TRANSPORT_SECURITY).map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(hsts(false), None);
        assert_eq!(hsts(true).as_deref(), Some("max-age=31536000"), "subdomains are not included");
    }

    #[test]
    fn frames_can_only_show_apps() {
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
