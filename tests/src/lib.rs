//! The harness of the end-to-end tests: several nodes on one machine, each a network namespace,
//! the real executables called as a container runtime calls them, and probes that say what
//! really passes between pods.
//!
//! A test here needs root, iproute2 and the built executables. It fails loudly, never skips: a
//! suite that passes because nothing ran says nothing. Everything is named after the process and
//! a counter, so tests run side by side, and every guard removes what it made when it is dropped,
//! also when the test panics.

pub mod advertisement;
pub mod capture;
pub mod carrier;
pub mod cli;
pub mod cluster;
pub mod cni;
pub mod cnitool;
pub mod conntrack;
pub mod containerd;
pub mod cri;
pub mod docker;
pub mod dockerd;
pub mod document;
pub mod event;
pub mod fast_path;
pub mod files;
pub mod firewalld;
pub mod frame;
pub mod grpc;
pub mod image;
pub mod kernel;
pub mod lab;
pub mod leftover;
pub mod netavark;
pub mod netns;
pub mod nic;
pub mod node;
pub mod podman;
pub mod probe;
pub mod program;
pub mod raw;
pub mod scene;
pub mod snapshot;
pub mod stream;
pub mod swarm;
pub mod sync;
pub mod terminal;
pub mod tmpfs;
pub mod wait;
pub mod watcher;
