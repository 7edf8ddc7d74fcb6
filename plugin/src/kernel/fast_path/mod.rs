//! The programs of the fast path (`plugin/bpf`) in the kernel: made, found again by their numbers, and told what the
//! network is. Which devices they hang on, `traffic` brings about.

mod call;
mod counts;
mod flows;
mod maps;
mod object;
mod path;
pub(super) mod program;
mod receiver;
mod settings;
mod time;

pub use counts::{COUNTS, Counts};
pub use flows::Flows;
pub use object::digest;
pub use path::FastPath;
pub use receiver::receiver_name;
pub use settings::PathSettings;
