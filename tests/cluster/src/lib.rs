//! A Kubernetes of real programs on one machine: etcd, API server, controller manager and scheduler, and nodes with
//! containerd, kubelet and kube-proxy, each node in namespaces of its own, with flatnet as the network.
//!
//! Everything of a cluster is named after the process, or has its place in a namespace of the cluster, so several run
//! side by side. Each guard removes what it made when it is dropped, also after a panic or Ctrl-C; what a killed run
//! left, the next one removes.

pub mod agent;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod containerd;
pub mod control_plane;
pub mod daemon;
pub mod etcd;
pub mod flannel;
pub mod flow;
pub mod image;
pub mod kube_proxy;
pub mod kubectl;
pub mod kubelet;
pub mod logs;
pub mod machine;
pub mod network;
pub mod node;
pub mod objects;
pub mod patience;
pub mod pki;
pub mod plan;
pub mod pod;
pub mod remains;
pub mod steps;
pub mod tools;
pub mod underlay;
