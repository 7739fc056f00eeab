//! The kernel's tables, through the `iptables` programs that the engine also uses.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Missing;
use super::rules::{Found, Rules};

/// The engine's chain for user rules. Engines that use nftables directly have none.
const DOCKER_USER: &str = "DOCKER-USER";
/// Folders in addition to `PATH`, which often lacks them for services and ordinary users.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Timeout of one program; programs wait for a lock on the tables.
const LIMIT: Duration = Duration::from_secs(10);
/// Attempts to set the rules.
const ATTEMPTS: u32 = 4;
/// Exists if this kernel supports IPv6.
const IPV6: &str = "/proc/net/if_inet6";

/// Contains whether this kernel applies rules to traffic inside a bridge.
const BRIDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The programs in the order of attempts: the machine's default first.
    fn programs(self) -> [&'static str; 3] {
        match self {
            Self::V4 => ["iptables", "iptables-nft", "iptables-legacy"],
            Self::V6 => ["ip6tables", "ip6tables-nft", "ip6tables-legacy"],
        }
    }
}

/// The tables that the engine uses, and our rules in the last listing.
#[derive(Debug)]
pub(super) struct Tables {
    program: &'static str,
    rules: Rules,
    seen: Vec<String>,
}

/// Whether this kernel supports IPv6.
pub(super) fn has_ipv6() -> bool {
    std::path::Path::new(IPV6).exists()
}

/// Whether this kernel applies rules to traffic between two containers on one bridge.
pub(super) fn shows_bridged() -> bool {
    std::fs::read_to_string(BRIDGED).is_ok_and(|text| text.trim() == "1")
}

/// Makes sure that `rules` are set. `known` is the result of the last call.
pub(super) async fn ensure(known: &mut Option<Tables>, family: Family, rules: &Rules) -> Result<(), Missing> {
    if let Some(tables) = known.as_ref().filter(|tables| tables.rules == *rules) {
        let found = Found::parse(&list(tables.program).await?);
        if rules.hold(&found, entered_from(&found), &tables.seen) {
            return Ok(());
        }
        tracing::info!(program = tables.program, "packet filter rules were missing or changed; restored them");
    }
    *known = None;
    let mut attempt = 1;
    loop {
        match put_up(family, rules).await {
            Ok(tables) => {
                *known = Some(tables);
                return Ok(());
            }
            // Another builder, or the engine, changed the tables at the same moment.
            Err(Missing::Failed(why)) if attempt < ATTEMPTS => tracing::debug!(%why, "trying again"),
            Err(missing) => return Err(missing),
        }
        attempt += 1;
    }
}

async fn put_up(family: Family, rules: &Rules) -> Result<Tables, Missing> {
    let (program, found) = choose(family).await?;
    let input = rules.restore(&found, entered_from(&found));
    run(&format!("{program}-restore"), &["--noflush", "--wait"], Some(input)).await?;
    let found = Found::parse(&list(program).await?);
    match rules.seen(&found) {
        Some(seen) if rules.hold(&found, entered_from(&found), &seen) => {
            Ok(Tables { program, rules: rules.clone(), seen })
        }
        _ => Err(Missing::Failed(format!("{program} accepted the packet filter rules, but does not list them"))),
    }
}

/// The tables with the engine's own rules; if none has any, the machine's default ones.
async fn choose(family: Family) -> Result<(&'static str, Found), Missing> {
    let mut usual = Err(Missing::NotInstalled);
    for program in family.programs() {
        let found = list(program).await.map(|listing| (program, Found::parse(&listing)));
        match found {
            Ok((program, found)) if found.has_chain(DOCKER_USER) || found.has_chain("DOCKER") => {
                return Ok((program, found));
            }
            found if matches!(usual, Err(Missing::NotInstalled)) => usual = found,
            _ => {}
        }
    }
    usual
}

fn entered_from(found: &Found) -> &'static str {
    if found.has_chain(DOCKER_USER) { DOCKER_USER } else { "FORWARD" }
}

async fn list(program: &str) -> Result<String, Missing> {
    run(program, &["--wait", "-S"], None).await
}

/// Runs a program without a shell and returns its output.
async fn run(program: &str, arguments: &[&str], input: Option<String>) -> Result<String, Missing> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Missing::NotInstalled,
        ErrorKind::PermissionDenied => Missing::NotPermitted,
        _ => Missing::Failed(format!("{program} cannot be run: {error}")),
    };
    let path = find(program).ok_or(Missing::NotInstalled)?;
    let mut command = Command::new(path);
    command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let work = async {
        let mut child = command.spawn()?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(LIMIT, work).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => return Err(Missing::Failed(format!("{program} has not answered for {} seconds", LIMIT.as_secs()))),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.contains("Permission denied") || words.contains("Operation not permitted") {
        return Err(Missing::NotPermitted);
    }
    Err(Missing::Failed(format!("{program} rejects the packet filter rules: {words}")))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}
