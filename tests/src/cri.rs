//! The Container Runtime Interface, as far as the tests speak it: the messages of
//! `runtime.v1` with the fields that are used here, and calls that speak of pods.
//!
//! Field numbers are those of the Kubernetes project's `api.proto`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use prost::Message;

use crate::grpc::unary;
use crate::image::IMAGE;

const RUNTIME: &str = "/runtime.v1.RuntimeService/";
const IMAGES: &str = "/runtime.v1.ImageService/";

#[derive(Clone, PartialEq, Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct PortMapping {
    #[prost(int32, tag = "2")]
    container_port: i32,
    #[prost(int32, tag = "3")]
    host_port: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(message, repeated, tag = "5")]
    port_mappings: Vec<PortMapping>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<Empty>,
}

/// A message of which nothing is set, or nothing is read.
#[derive(Clone, PartialEq, Message)]
struct Empty {}

/// A request whose only field is a configuration, or an answer whose only one is the pod.
#[derive(Clone, PartialEq, Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

/// An ID as the only field: of a pod or a container, in a request or an answer.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatus {
    #[prost(int32, tag = "3")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    network: Option<PodNetwork>,
}

#[derive(Clone, PartialEq, Message)]
struct PodNetwork {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(message, repeated, tag = "2")]
    additional: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct PodList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Id>,
    #[prost(message, optional, tag = "2")]
    image: Option<Id>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, optional, tag = "15")]
    linux: Option<Empty>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSync {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncAnswer {
    #[prost(bytes = "vec", tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    exit_code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageAnswer {
    #[prost(message, optional, tag = "1")]
    image: Option<Id>,
}

/// What a pod is to be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    config: PodConfig,
}

impl PodSpec {
    /// A pod of that name in the namespace `default`; its UID is its name as well.
    pub fn new(name: &str) -> Self {
        let namespace = "default".to_owned();
        let metadata = PodMetadata { name: name.to_owned(), uid: name.to_owned(), namespace };
        let config = PodConfig {
            metadata: Some(metadata),
            hostname: name.to_owned(),
            linux: Some(Empty {}),
            ..PodConfig::default()
        };
        Self { config }
    }

    /// Maps a TCP port of the node to one of the pod.
    pub fn host_port(mut self, host_port: u16, container_port: u16) -> Self {
        let mapping =
            PortMapping { container_port: container_port.into(), host_port: host_port.into() };
        self.config.port_mappings.push(mapping);
        self
    }
}

/// A runtime's socket.
#[derive(Clone, Debug)]
pub struct Cri {
    socket: PathBuf,
}

impl Cri {
    /// The runtime that listens, or will, on this socket.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    fn ask<T: Message + Default>(&self, method: &str, request: &impl Message) -> Result<T, String> {
        unary(&self.socket, &format!("{RUNTIME}{method}"), request)
    }

    /// Whether it answers, has a network configuration and knows the image of the tests.
    pub fn is_ready(&self, with_image: bool) -> bool {
        let answer: Result<StatusAnswer, String> = self.ask("Status", &Empty {});
        let conditions =
            answer.ok().and_then(|answer| answer.status).unwrap_or_default().conditions;
        let ready = conditions.len() >= 2 && conditions.iter().all(|condition| condition.status);
        if !ready || !with_image {
            return ready;
        }
        let request = ImageRequest { image: Some(Id { id: IMAGE.to_owned() }) };
        let answer: Result<ImageAnswer, String> =
            unary(&self.socket, &format!("{IMAGES}ImageStatus"), &request);
        answer.is_ok_and(|answer| answer.image.is_some())
    }

    /// Starts a pod and returns its ID.
    ///
    /// # Errors
    /// What the runtime said, and with it what the plugin said.
    pub fn run_pod(&self, spec: &PodSpec) -> Result<String, String> {
        let request = RunPod { config: Some(spec.config.clone()) };
        self.ask("RunPodSandbox", &request).map(|answer: Id| answer.id)
    }

    /// A pod's addresses; none once it has stopped.
    pub fn addresses(&self, pod: &str) -> Vec<IpAddr> {
        let network = self.status(pod).network.unwrap_or_default();
        let additional = network.additional.iter().map(|ip| ip.id.as_str());
        let all = std::iter::once(network.ip.as_str()).chain(additional);
        let filled = all.filter(|text| !text.is_empty());
        filled.map(|text| text.parse().expect("an address")).collect()
    }

    /// Whether a pod is in the state READY.
    pub fn is_running(&self, pod: &str) -> bool {
        self.status(pod).state == 0
    }

    fn status(&self, pod: &str) -> PodStatus {
        let answer: Result<PodStatusAnswer, String> =
            self.ask("PodSandboxStatus", &Id { id: pod.to_owned() });
        answer.expect("the status of a pod").status.expect("a status")
    }

    /// The IDs of all pods.
    ///
    /// # Errors
    /// What the runtime said.
    pub fn pods(&self) -> Result<Vec<String>, String> {
        let list: PodList = self.ask("ListPodSandbox", &Empty {})?;
        Ok(list.items.into_iter().map(|item| item.id).collect())
    }

    /// Starts a container of the tests' image in a pod and returns its ID.
    pub fn run_container(&self, pod: &str, spec: &PodSpec, command: &[&str]) -> String {
        let config = ContainerConfig {
            metadata: Some(Id { id: "main".to_owned() }),
            image: Some(Id { id: IMAGE.to_owned() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            linux: Some(Empty {}),
        };
        let request = CreateContainer {
            pod: pod.to_owned(),
            config: Some(config),
            pod_config: Some(spec.config.clone()),
        };
        let created: Result<Id, String> = self.ask("CreateContainer", &request);
        let id = created.expect("create a container").id;
        let started: Result<Empty, String> = self.ask("StartContainer", &Id { id: id.clone() });
        started.expect("start a container");
        id
    }

    /// Runs a command in a container; fails the test unless it succeeds. Returns its output.
    pub fn exec(&self, container: &str, line: &str) -> String {
        let command = line.split_whitespace().map(str::to_owned).collect();
        let request = ExecSync { container: container.to_owned(), command, timeout: 20 };
        let answer: Result<ExecSyncAnswer, String> = self.ask("ExecSync", &request);
        let answer = answer.unwrap_or_else(|error| panic!("`{line}`: {error}"));
        let [stdout, stderr] =
            [&answer.stdout, &answer.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert_eq!(answer.exit_code, 0, "`{line}`: {stdout}{stderr}");
        stdout.into_owned()
    }

    /// Stops a pod and its containers.
    ///
    /// # Errors
    /// What the runtime said.
    pub fn stop_pod(&self, pod: &str) -> Result<(), String> {
        self.ask("StopPodSandbox", &Id { id: pod.to_owned() }).map(|_: Empty| ())
    }

    /// Removes a pod and its containers.
    ///
    /// # Errors
    /// What the runtime said.
    pub fn remove_pod(&self, pod: &str) -> Result<(), String> {
        self.ask("RemovePodSandbox", &Id { id: pod.to_owned() }).map(|_: Empty| ())
    }
}
