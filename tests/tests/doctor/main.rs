//! Faults that keep pods from talking, or would tonight: each is set as it comes about, `flatnet doctor`
//! names it in plain words with what mends it, that mends it, and it is named no more.

mod agent;
mod attachments;
mod author;
mod chain;
mod configuration;
mod escapes;
mod fast_path;
mod files;
mod filters;
mod inotify;
mod kube_proxy;
mod overlay;
mod rivals;
mod routes;
mod scene;
mod status;
mod underlay;
