//! Recognizes registry outages in the messages of an engine or a node.
//!
//! Neither of them reports an error code for this, only a text.

/// Texts by which an engine or a node reports that a registry is unavailable, as opposed to a missing image.
const OUTAGE_SIGNS: [&str; 10] = [
    "connection refused",
    "connection reset",
    "broken pipe",
    "i/o timeout",
    "TLS handshake timeout",
    "no such host",
    "no route to host",
    "network is unreachable",
    "deadline exceeded",
    "EOF",
];
/// HTTP statuses of a gateway or server that is temporarily unavailable.
const AWAY_STATUSES: [(&str, &str); 3] =
    [("502", "Bad Gateway"), ("503", "Service Unavailable"), ("504", "Gateway Timeout")];

/// Whether a message about a registry reports an outage. A number alone does not count as a status, because the digest
/// of an image may contain it.
pub fn is_outage(message: &str) -> bool {
    OUTAGE_SIGNS.iter().any(|sign| message.contains(sign))
        || AWAY_STATUSES.iter().any(|(code, words)| {
            message.contains(&format!("{code} {words}"))
                || ["status code ", "status code: ", "statuscode: ", "status: ", "status "]
                    .iter()
                    .any(|before| message.contains(&format!("{before}{code}")))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_is_away_is_told_apart_from_one_without_the_image() {
        let digest = format!("sha256:{}502503504{}", "a".repeat(20), "b".repeat(35));
        for away in [
            "dial tcp 10.43.0.9:5000: connect: connection refused".to_owned(),
            "read tcp 10.42.0.1:33012->10.43.0.9:5000: read: connection reset by peer".to_owned(),
            "Get \"http://registry/v2/\": EOF".to_owned(),
            "net/http: TLS handshake timeout".to_owned(),
            "received unexpected HTTP status: 503 Service Unavailable".to_owned(),
            format!("failed to resolve reference \"r/a@{digest}\": unexpected status code 502 from HEAD request"),
            format!(
                "failed to resolve reference \"r/a@{digest}\": unexpected status from HEAD request: 504 Gateway Timeout"
            ),
        ] {
            assert!(is_outage(&away), "{away}");
        }
        for answered in [
            format!("manifest for registry:5000/slipway/a@{digest} not found: manifest unknown"),
            format!("failed to pull image \"127.0.0.1:5000/slipway/a503@{digest}\": not found"),
            format!("pull access denied for r/a@{digest}, repository does not exist"),
            "unexpected status code 401 Unauthorized".to_owned(),
        ] {
            assert!(!is_outage(&answered), "{answered}");
        }
    }
}
