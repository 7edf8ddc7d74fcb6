//! Logs: a line each, to standard error or to a file, never to standard output, which belongs to
//! the protocol.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use flatnet_conf::{LogLevel, one_line};
use log::{LevelFilter, Log, Metadata, Record};

/// The configured logger: `None` is standard error.
struct Logger {
    file: Option<Mutex<File>>,
}

/// Starts logging. A file that cannot be opened must not keep a pod from starting: then the lines
/// go to standard error, the first one saying so.
pub fn start(level: LogLevel, path: Option<&Path>) {
    let opened = path.map(|path| {
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|e| (path, e))
    });
    let (file, failure) = match opened {
        Some(Ok(file)) => (Some(Mutex::new(file)), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    if log::set_boxed_logger(Box::new(Logger { file })).is_ok() {
        log::set_max_level(match level {
            LogLevel::Error => LevelFilter::Error,
            LogLevel::Warn => LevelFilter::Warn,
            LogLevel::Info => LevelFilter::Info,
            LogLevel::Debug => LevelFilter::Debug,
        });
    }
    if let Some((path, e)) = failure {
        log::warn!("cannot open logFile {}: {e}; logging to standard error", path.display());
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The netlink crates log their own decoding; that is for their authors.
        metadata.target().starts_with("flatnet")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = one_line(&record.args().to_string());
        let line = format!("flatnet[{}] {}: {text}\n", std::process::id(), record.level());
        // One write a line, so that the lines of processes side by side stay whole. A log that
        // cannot be written has nobody to tell.
        let _ = match &self.file {
            Some(file) => match file.lock() {
                Ok(mut file) => file.write_all(line.as_bytes()),
                Err(_) => Ok(()),
            },
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    fn flush(&self) {}
}
