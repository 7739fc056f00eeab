//! Which addresses an app can reach, tested from inside its container.

use std::net::IpAddr;

use super::*;
use crate::domain::Environment::{Preview, Prod};
use crate::firewall::testing::{Neighbours, PORT, own_address};
use crate::firewall::{FirewallSettings, Protection};

const REFUSED: &str = "Connection refused";

/// The result of an app's attempt to connect to an address.
async fn reach(from: &Instance, host: IpAddr, port: u16) -> String {
    get(from.address, &format!("/reach/{host}/{port}")).await.expect("the app answers")
}

#[tokio::test]
async fn an_app_reaches_the_internet_and_nothing_near() {
    let scene = Scene::new().await;
    let neighbours = Neighbours::settle();
    let app = scene.serve(&scene.deployment(Preview, 1, "serve")).await;
    let other_app = scene.sandbox.app();
    let other = scene.serve(&scene.deployment_of(&other_app, Prod, 1, "serve")).await;
    let on_host = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = on_host.local_addr().expect("an address").port();
    let gateway = {
        let IpAddr::V4(address) = app.address.expect("an address").ip() else { panic!("IPv4") };
        IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits() & !15 | 1))
    };

    assert_eq!(reach(&app, neighbours.internet, PORT).await, "ok");
    for (what, host, port) in [
        ("a LAN", neighbours.lan, PORT),
        ("a DNS server that is not configured", neighbours.lan, 53),
        ("a metadata service", neighbours.metadata, PORT),
        ("the host on a LAN", neighbours.host, port),
        ("the host's own address", own_address(), port),
        ("the gateway of its network", gateway, port),
        ("another app", other.address.expect("an address").ip(), 8080),
    ] {
        assert!(!on_host_refuses(host, port).await, "{what} answers the host at {host}:{port}");
        assert_eq!(reach(&app, host, port).await, REFUSED, "{what}: {host}:{port}");
    }
    // The engine's resolver uses this machine's DNS servers, at any address.
    let resolved = get(app.address, "/resolve/deb.debian.org").await.expect("the app answers");
    assert_eq!(resolved, "ok");
}

/// Removes a builder's own chain when it is dropped, so also after a panic.
struct OwnChain(crate::ownership::Installation);

impl Drop for OwnChain {
    fn drop(&mut self) {
        let without = super::firewall(&self.0);
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::io::Result::Ok(runtime.block_on(without.ensure()))
        });
        let _ = removed.join();
    }
}

async fn on_host_refuses(host: IpAddr, port: u16) -> bool {
    TcpStream::connect((host, port)).await.is_err()
}

#[tokio::test]
async fn what_the_operator_allows_and_blocks_holds_and_comes_back() {
    let scene = Scene::new().await;
    let neighbours = Neighbours::settle();
    let mut settings = FirewallSettings::new(&scene.sandbox.installation, true);
    settings.allowed = vec![format!("{}:{PORT}", neighbours.lan).parse().expect("a network")];
    settings.blocked = vec![format!("{}/32", neighbours.internet).parse().expect("a network")];
    let firewall = Firewall::new(settings);
    let _own_chain = OwnChain(scene.sandbox.installation.clone());
    let docker = super::settings(scene.sandbox.installation.clone(), firewall.clone());
    let runtime = DockerRuntime::new(scene.sandbox.docker.clone(), docker);
    let never = CancellationToken::new();
    let app = runtime.start(&scene.deployment(Preview, 1, "serve"), &never).await.expect("it starts");
    scene.ready(&app, "/health", LONG).await.expect("it answers");
    let seen = async || {
        let mut seen = Vec::new();
        for (host, port) in [(neighbours.lan, PORT), (neighbours.lan, 53), (neighbours.internet, PORT)] {
            seen.push(reach(&app, host, port).await);
        }
        seen
    };
    let wanted = ["ok", REFUSED, REFUSED];
    assert_eq!(seen().await, wanted);

    // This builder's chain is emptied: the rules for all builders stay, and the next check restores the chain.
    let chain = format!("SLIPWAY-OWN-{}", scene.sandbox.installation.interface_prefix());
    let emptied = std::process::Command::new("iptables").args(["--wait", "-F", &chain]).status().expect("iptables");
    assert!(emptied.success());
    assert_eq!(seen().await, [REFUSED, REFUSED, "ok"]);
    assert_eq!(firewall.ensure().await, Protection::Held);
    assert_eq!(seen().await, wanted);

    // Without such settings the chain is removed.
    assert_eq!(super::firewall(&scene.sandbox.installation).ensure().await, Protection::Held);
    assert_eq!(seen().await, [REFUSED, REFUSED, "ok"]);
    let listed = std::process::Command::new("iptables").args(["--wait", "-S"]).output().expect("iptables");
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(&chain));
}
