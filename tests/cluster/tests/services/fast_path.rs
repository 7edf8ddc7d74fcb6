//! The fast path beside a real kube-proxy: flows between pods take it; those that kube-proxy translates never do, and
//! are served as without it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flatnet_cluster::cluster::Cluster;
use flatnet_cluster::node::Node;
use flatnet_cluster::patience::until;
use flatnet_cluster::pod::Pod;
use flatnet_cluster::{client, objects};
use flatnet_tests::fast_path::counts;
use flatnet_tests::netns::Netns;
use flatnet_tests::stream::{IN_FORCE, Stream, now};
use serde_json::{Value, json};

use crate::service_addresses;

/// Where the programs listen that this test opens in pods.
const PORT: u16 = 9000;
/// Ports of every node that lead there, and for a Service whose client must be seen; the next are for UDP.
const CLUSTER: u16 = 30090;
const LOCAL: u16 = 30092;
/// The label of the pods behind a Service of several.
const POOL: &str = "pool=flow";
/// How long a datagram is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who begins a flow.
#[derive(Copy, Clone)]
enum Client<'a> {
    Pod(&'a Pod),
    Host(&'a Netns),
}

impl Client<'_> {
    fn run<T: Send>(self, cluster: &Cluster, work: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Pod(pod) => cluster.in_pod(pod, work),
            Self::Host(netns) => netns.run(work),
        }
    }
}

/// A pod's address of the family of another.
fn like(pod: &Pod, other: IpAddr) -> IpAddr {
    pod.addresses[usize::from(other.is_ipv6())]
}

/// Opens a socket for datagrams in a pod.
fn open(cluster: &Cluster, pod: &Pod, address: IpAddr, port: u16) -> UdpSocket {
    cluster.in_pod(pod, || UdpSocket::bind((address, port))).expect("bind in a pod")
}

/// Datagrams from a client to a published address that leads to a program in a pod.
fn udp(cluster: &Cluster, client: Client<'_>, server: &Pod, to: SocketAddr) -> Stream {
    let answering = open(cluster, server, like(server, to.ip()), PORT);
    Stream::of(asking(cluster, client, to), answering)
}

/// A client's socket for datagrams to an address.
fn asking(cluster: &Cluster, client: Client<'_>, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = client.run(cluster, || UdpSocket::bind((any, 0))).expect("bind");
    socket.connect(to).expect("a way");
    socket
}

/// The same, a connection; it is there as soon as kube-proxy has heard of the Service.
fn tcp(cluster: &Cluster, client: Client<'_>, server: &Pod, to: SocketAddr) -> Stream {
    let own = like(server, to.ip());
    let listener = cluster.in_pod(server, || TcpListener::bind((own, PORT))).expect("listen");
    let connect = || client.run(cluster, || TcpStream::connect_timeout(&to, PATIENCE));
    let asking = until("connection", || connect().map_err(|error| format!("{to}: {error}")));
    let (answering, _) = listener.accept().expect("accept");
    Stream::over(asking, answering)
}

/// Datagrams between two pods by their own addresses, on the fast path.
fn direct(cluster: &Cluster, from: &Pod, to: &Pod, nodes: &[&Node]) -> Stream {
    let answering = open(cluster, to, to.addresses[0], 0);
    let target = answering.local_addr().expect("an address");
    let stream = Stream::of(asking(cluster, Client::Pod(from), target), answering);
    stream.warm(nodes);
    stream
}

/// Flows of both protocols by a Service are answered, and the node that translates them learns nothing.
fn served(
    cluster: &Cluster,
    client: Client<'_>,
    server: &Pod,
    address: IpAddr,
    [http, datagrams]: [u16; 2],
    node: &Node,
) {
    let before = counts(node)["learned"];
    let stream = tcp(cluster, client, server, SocketAddr::new(address, http));
    stream.goes_on();
    stream.is_slow(&[node]);
    drop(stream);
    let stream = udp(cluster, client, server, SocketAddr::new(address, datagrams));
    stream.goes_on();
    stream.is_slow(&[node]);
    assert_eq!(counts(node)["learned"], before, "{address} on {}", node.name);
}

/// A Service that leads to the programs of this test.
fn service(mut service: Value, selector: &str) -> Value {
    let (key, value) = selector.split_once('=').expect("a label");
    service["spec"]["selector"] = json!({ key: value });
    for index in 0..2 {
        service["spec"]["ports"][index]["targetPort"] = json!(PORT);
    }
    service
}

/// `near` and another pod on the first node, and `far` on the second.
struct Three {
    near: Pod,
    beside: Pod,
    far: Pod,
}

impl Three {
    fn of(cluster: &Cluster) -> Self {
        let near = cluster.pod("app=near");
        let others = cluster.pods("app=web").into_iter();
        let beside = others.clone().find(|pod| pod.node == near.node).expect("a pod beside");
        Self { near, beside, far: cluster.pod("app=far") }
    }
}

fn nodes(cluster: &Cluster) -> [&Node; 2] {
    ["node-a", "node-b"].map(|name| cluster.node(name))
}

pub fn flows_between_pods_take_it(cluster: &mut Cluster) {
    let Three { near, beside, far } = Three::of(cluster);
    let [a, b] = nodes(cluster);
    for (server, passed) in [(&far, &[a, b][..]), (&beside, &[a])] {
        for address in server.addresses {
            let to = SocketAddr::new(address, PORT);
            tcp(cluster, Client::Pod(&near), server, to).warm(passed);
            udp(cluster, Client::Pod(&near), server, to).warm(passed);
        }
    }
}

pub fn agents_tell_what_takes_it(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        let before = counts(node);
        let agent = SocketAddr::from((Ipv4Addr::LOCALHOST, 9449));
        let text = client::get(&node.machine().netns, agent, "/metrics").expect("metrics");
        let after = counts(node);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
            line.parse::<u64>().expect("a number")
        };
        for is in ["wanted", "stands"] {
            assert_eq!(value(&format!("flatnet_agent_fast_path_{is}")), 1, "{}", node.name);
        }
        for (name, count) in [
            ("packets_total{way=\"pod\"}", "toPod"),
            ("packets_total{way=\"uplink\"}", "toUplink"),
            ("missed_total{reason=\"handshake\"}", "handshake"),
            ("learned_total", "learned"),
        ] {
            let told = value(&format!("flatnet_agent_fast_path_{name}"));
            let seen = before[count]..=after[count];
            assert!(told > 0 && seen.contains(&told), "{}: {name} {told}: {seen:?}", node.name);
        }
    }
}

pub fn flows_by_a_service_go_the_usual_way(cluster: &mut Cluster) {
    cluster.kubectl().apply(&[
        service(objects::service("flow-near", ""), "app=near"),
        service(objects::node_port("flow-far", "", CLUSTER, false), "app=far"),
        service(objects::node_port("flow-local", "", LOCAL, true), "app=far"),
    ]);
    let Three { near, beside, far } = Three::of(cluster);
    let [a, b] = nodes(cluster);
    for address in service_addresses(cluster, "flow-far") {
        served(cluster, Client::Pod(&near), &far, address, [80, 81], a);
    }
    for address in service_addresses(cluster, "flow-near") {
        // Itself, and one beside it.
        served(cluster, Client::Pod(&near), &near, address, [80, 81], a);
        served(cluster, Client::Pod(&beside), &near, address, [80, 81], a);
    }
    let outside = Client::Host(&cluster.underlay.outside);
    for address in a.addresses() {
        let ports = [CLUSTER, CLUSTER + 1];
        served(cluster, outside, &far, address, ports, a);
        served(cluster, Client::Pod(&near), &far, address, ports, a);
    }
    for address in b.addresses() {
        served(cluster, outside, &far, address, [LOCAL, LOCAL + 1], b);
    }
    // The same pods by their own addresses.
    direct(cluster, &near, &far, &[a, b]);
}

/// Answers datagrams in a pod with the pod's name, until it is dropped.
struct Named {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Named {
    fn start(cluster: &Cluster, pod: &Pod) -> Self {
        let socket = open(cluster, pod, pod.addresses[0], PORT);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (pod.name.clone(), Arc::clone(&stop));
        let answer = move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            }
        };
        Self { stop, thread: Some(thread::spawn(answer)) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The name of the pod that answers.
fn ask(socket: &UdpSocket) -> Result<String, String> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answer = [0; 253];
    let said = socket.send(b"name").and_then(|_| socket.recv(&mut answer));
    let length = said.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

pub fn a_client_stays_with_its_endpoint(cluster: &mut Cluster) {
    let Three { near, beside, far } = Three::of(cluster);
    cluster.kubectl().must(&["label", "pods", &beside.name, &far.name, POOL]);
    let mut affine = service(objects::service("flow-affine", ""), POOL);
    affine["spec"]["sessionAffinity"] = json!("ClientIP");
    cluster.kubectl().apply(&[affine, service(objects::service("flow-pool", ""), POOL)]);
    let _named = [&beside, &far].map(|pod| Named::start(cluster, pod));
    let [affine, pool] = ["flow-affine", "flow-pool"]
        .map(|name| SocketAddr::new(service_addresses(cluster, name)[0], 81));
    let fresh = |to| ask(&asking(cluster, Client::Pod(&near), to));
    // Without affinity a client meets both.
    for pod in [&beside, &far] {
        until("each endpoint", || {
            fresh(pool).and_then(|name| if name == pod.name { Ok(()) } else { Err(name) })
        });
    }
    let chosen = until("endpoint", || fresh(affine));
    let both = nodes(cluster);
    let warm = [(&far, &both[..]), (&beside, &both[..1])]
        .map(|(pod, passed)| direct(cluster, &near, pod, passed));
    for _ in 0..10 {
        assert_eq!(fresh(affine), Ok(chosen.clone()));
    }
    warm.iter().for_each(Stream::goes_on);
}

pub fn flows_end_with_their_endpoint(cluster: &mut Cluster) {
    let Three { near, beside, far } = Three::of(cluster);
    let [a, b] = nodes(cluster);
    let pool = service_addresses(cluster, "flow-pool")[0];
    // Of one that lives on, kube-proxy leads a flow of datagrams to another.
    let named = [&beside, &far].map(|pod| Named::start(cluster, pod));
    let flow = asking(cluster, Client::Pod(&near), SocketAddr::new(pool, 81));
    let chosen = until("endpoint", || ask(&flow));
    let (left, other, passed) =
        if chosen == far.name { (&far, &beside, &[a, b][..]) } else { (&beside, &far, &[a][..]) };
    let warm = direct(cluster, &near, left, passed);
    cluster.kubectl().must(&["label", "pod", &left.name, "pool-"]);
    until("other endpoint", || {
        ask(&flow).and_then(|name| if name == other.name { Ok(()) } else { Err(name) })
    });
    warm.goes_on();
    drop((named, warm));
    // Nothing comes to one that is gone, by its own address or by a Service.
    let service = service_addresses(cluster, "flow-far")[0];
    let flows = [
        tcp(cluster, Client::Pod(&near), &far, SocketAddr::new(service, 80)),
        udp(cluster, Client::Pod(&near), &far, SocketAddr::new(service, 81)),
        direct(cluster, &near, &far, &[b]),
    ];
    flows.iter().for_each(Stream::goes_on);
    cluster.kubectl().delete(&["pod", &far.name]);
    let gone = now();
    for flow in flows {
        flow.sends_until(gone, IN_FORCE);
        assert!(flow.arrived() < gone, "to {}", flow.server);
    }
}
