//! What people are told when something is wrong: each fault is set, named with what mends it, mended,
//! and named no more.

mod chain;
mod escapes;
mod files;
mod inotify;
mod scene;
mod status;
