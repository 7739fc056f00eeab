//! For tests: simulates a LAN, a metadata service and the internet in a network namespace, which is removed when it is
//! dropped, even after a panic.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};

/// Accepts connections, and answers each DNS-like datagram, on port 7777 and 53.
const SERVER: &str = "
import socket, threading
def accept(listener):
    while True:
        listener.accept()[0].close()
for port in (7777, 53):
    threading.Thread(target=accept, args=(socket.create_server(('0.0.0.0', port)),)).start()
print('listening', flush=True)
";
/// The server's port in addition to 53.
pub const PORT: u16 = 7777;

/// Simulated machines.
pub struct Neighbours {
    namespace: String,
    server: Option<Child>,
    /// In a private network.
    pub lan: IpAddr,
    /// Link-local, as clouds' metadata services are.
    pub metadata: IpAddr,
    /// A public address that is not in use.
    pub internet: IpAddr,
    /// The address of this machine for the neighbours.
    pub host: IpAddr,
}

impl Neighbours {
    /// Needs root to create a network namespace.
    pub fn settle() -> Self {
        let n = 100 + rand::random::<u8>() % 100;
        // Documentation addresses above 200 are unused on every machine.
        let internet = Ipv4Addr::new(203, 0, 113, 201 + n % 50);
        let (host, lan) = (Ipv4Addr::new(10, 99, n, 1), Ipv4Addr::new(10, 99, n, 2));
        let metadata = Ipv4Addr::new(169, 254, n, 254);
        let namespace = format!("slt{n}-{:x}", rand::random::<u16>());
        let (near, far) = (format!("sltn{n}"), format!("sltf{n}"));
        let mut neighbours = Self {
            namespace: namespace.clone(),
            server: None,
            lan: lan.into(),
            metadata: metadata.into(),
            internet: internet.into(),
            host: host.into(),
        };
        ip(&["netns", "add", &namespace]);
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &namespace]);
        ip(&["address", "add", &format!("{host}/30"), "dev", &near]);
        ip(&["link", "set", &near, "up"]);
        let inside = ["-n", namespace.as_str()];
        for address in [lan, metadata, internet] {
            let address = format!("{address}/{}", if address == lan { 30 } else { 32 });
            ip(&[&inside[..], &["address", "add", &address, "dev", &far]].concat());
        }
        for device in ["lo", &far] {
            ip(&[&inside[..], &["link", "set", device, "up"]].concat());
        }
        ip(&[&inside[..], &["route", "add", "default", "via", &host.to_string()]].concat());
        for address in [metadata, internet] {
            ip(&["route", "add", &address.to_string(), "via", &lan.to_string()]);
        }
        let mut server = Command::new("ip")
            .args(["netns", "exec", &namespace, "python3", "-c", SERVER])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip and python3 are installed: run scripts/setup --for-tests");
        let mut line = String::new();
        let output = server.stdout.take().expect("its output");
        neighbours.server = Some(server);
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "listening\n", "the server in the namespace runs");
        neighbours
    }
}

/// This machine's address on the default route.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Sends nothing: it only queries the kernel for a route.
    socket.connect("198.51.100.1:9").expect("a default route");
    socket.local_addr().expect("an address").ip()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("the program ip is installed (package iproute2)");
    assert!(
        output.status.success(),
        "this test makes a network namespace, which needs root: ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        // Removes its interfaces and routes too.
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).output();
    }
}
