//! Whatever comes to the driver's socket: it answers what it can, and serves the next.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use flatnet_tests::cluster::Cluster;
use flatnet_tests::docker::Driver;
use serde_json::{Value, json};

fn connect(driver: &Driver<'_>) -> UnixStream {
    let stream = UnixStream::connect(driver.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// What it answers to these bytes, to the end of the connection.
fn answer(driver: &Driver<'_>, bytes: &[u8]) -> String {
    let mut stream = connect(driver);
    // It need not read all of what is too long.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("POST /{method} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

fn assert_serves(driver: &Driver<'_>) {
    let told = driver.call("NetworkDriver.GetCapabilities", &json!({})).expect("an answer");
    assert_eq!(told["Scope"], "local", "{told}");
}

#[test]
fn it_is_roots_alone() {
    let cluster = Cluster::new(1);
    let driver = Driver::start(&cluster.nodes[0], &[]);
    let found = fs::metadata(driver.socket()).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.uid()), (0o600, 0));
    assert_serves(&driver);
}

#[test]
fn odd_calls_are_answered() {
    let cluster = Cluster::new(1);
    let driver = Driver::start(&cluster.nodes[0], &[]);
    let length = |body: &str| format!("Content-Length: {}\r\n", body.len());
    let long = format!("{{\"EndpointID\":\"{}\"}}", "x".repeat(17 << 20));
    let ports: Vec<Value> = (1..=65_535)
        .map(|port| json!({ "Proto": 6, "Port": port, "HostPort": port, "HostPortEnd": port }))
        .collect();
    let ports = json!({ "EndpointID": "x", "Options": { "com.docker.network.portmap": ports } });
    let ports = ports.to_string();
    let deep = "[".repeat(1 << 19);
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (bytes, status, words) in [
        (request("NetworkDriver.Join", &length("["), "["), "200", "not what Docker sends"),
        (request("NetworkDriver.Join", &length(&deep), &deep), "200", "not what Docker sends"),
        (request("NetworkDriver.Join", &length(&long), &long), "400", "cannot read the call"),
        (
            request("NetworkDriver.ProgramExternalConnectivity", &length(&ports), &ports),
            "200",
            "endpoint x has no lease",
        ),
        (request("NetworkDriver.Join", chunked, "zz\r\n"), "400", ""),
        (request("NetworkDriver.GetCapabilities", chunked, "2\r\n{}\r\n0\r\n\r\n"), "200", "local"),
        (request("NetworkDriver.Fly", &length("{}"), "{}"), "404", "no such call"),
        (request("", "", ""), "404", "no such call"),
        (request("../../etc/passwd", "", ""), "404", "no such call"),
        (request(&"x".repeat(1 << 16), "", ""), "", ""),
        (request("x", &format!("X: {}\r\n", "y".repeat(1 << 20)), ""), "431", ""),
        (request("x", "Content-Length: -1\r\n", ""), "400", ""),
        (request("x", "Content-Length: 99999999999999999999\r\n", ""), "400", ""),
        (b"\0\xff\r\n\r\n".to_vec(), "400", ""),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "404", "no such call"),
    ] {
        let answer = answer(&driver, &bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let told = answer.split(' ').nth(1).unwrap_or_default();
        assert!(told.starts_with(status) && answer.contains(words), "{shown}: {answer}");
        if let Some((_, document)) =
            answer.split_once("\r\n\r\n").filter(|(_, text)| !text.is_empty())
        {
            let document: Value = serde_json::from_str(document).unwrap();
            assert!(status == "200" || document["Err"].is_string(), "{shown}: {document}");
        }
        assert_serves(&driver);
    }
    assert!(cluster.nodes[0].leases().is_empty());
}

#[test]
fn who_is_slow_keeps_nobody() {
    let cluster = Cluster::new(1);
    let driver = Driver::start(&cluster.nodes[0], &[]);
    let whole = request("NetworkDriver.GetCapabilities", "Content-Length: 2\r\n", "{}");
    // Half a request each: of its first line, of its headers, of its body; and some that say nothing.
    let halves = [0, 10, 60, whole.len() - 1];
    let mut slow: Vec<(UnixStream, usize)> = (0..200)
        .map(|n| {
            let (mut stream, half) = (connect(&driver), halves[n % halves.len()]);
            stream.write_all(&whole[..half]).unwrap();
            (stream, half)
        })
        .collect();
    assert_serves(&driver);
    let mut left = slow.split_off(100).into_iter();
    // One half goes, the other comes to its end.
    for (mut stream, half) in slow {
        stream.write_all(&whole[half..]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("local"), "{answer}");
        drop(left.next());
    }
    assert_serves(&driver);
}

#[test]
fn many_are_served_at_once() {
    let cluster = Cluster::new(1);
    let node = &cluster.nodes[0];
    let driver = &Driver::start(node, &[]);
    let mac = |n: usize| format!("02:42:0a:00:01:{n:02x}");
    let ask = |n: usize| {
        let options = json!({ "com.docker.network.endpoint.macaddress": mac(n) });
        let body = json!({ "PoolID": "pods/4", "Address": "", "Options": options });
        let told = driver.call("IpamDriver.RequestAddress", &body).expect("an answer");
        told["Address"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    };
    let given: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..64).map(|n| scope.spawn(move || ask(n))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let different: std::collections::BTreeSet<_> = given.iter().collect();
    assert_eq!((different.len(), node.leases().len()), (64, 64), "{given:?}");
    std::thread::scope(|scope| {
        for address in &given {
            scope.spawn(move || {
                let release = json!({ "PoolID": "pods/4", "Address": address });
                driver.call("IpamDriver.ReleaseAddress", &release).expect("an answer")
            });
        }
    });
    node.assert_no_attachment();
}
