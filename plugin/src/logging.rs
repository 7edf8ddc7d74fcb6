//! Logs: a line each, to standard error or to a file, never to standard output, which belongs to
//! the protocol.

mod file;
mod journal;

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use flatnet_conf::{LogLevel, one_line};
use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use file::LogFile;
pub use journal::tell as tell_the_journal;

/// Where lines go: `None` is standard error.
struct Logger {
    file: Mutex<Option<LogFile>>,
}

static LOGGER: Logger = Logger { file: Mutex::new(None) };

/// Starts logging, or goes on elsewhere. The file is opened by the first line: an ordinary ADD has
/// none to write.
pub fn start(level: LogLevel, path: Option<&Path>) {
    if let Ok(mut file) = LOGGER.file.lock() {
        *file = path.map(LogFile::new);
    }
    // Refused the second time, when it is this one already.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
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
        let line = line(record.level(), &record.args().to_string());
        let Ok(mut file) = self.file.lock() else { return };
        let Some(open) = file.as_mut() else {
            return to_stderr(&line);
        };
        // The reader of standard error notes the time; a file does not.
        // `Timestamp::now` panics in words that are a quarter of a megabyte of code.
        let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        let dated = format!("{now:.3} {line}");
        // A file that cannot be written must not keep a pod from starting, nor a word from being
        // heard.
        if let Err(e) = open.write(dated.as_bytes()) {
            let path = open.path().display();
            let why = format!("cannot write logFile {path}: {e}; logging to standard error");
            *file = None;
            to_stderr(&self::line(Level::Warn, &why));
            to_stderr(&line);
        }
    }

    fn flush(&self) {}
}

fn line(level: Level, text: &str) -> String {
    format!("flatnet[{}] {level}: {}\n", std::process::id(), one_line(text))
}

/// One write a line, so that the lines of processes side by side stay whole. Where standard error
/// cannot be written, the line is lost.
fn to_stderr(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}
