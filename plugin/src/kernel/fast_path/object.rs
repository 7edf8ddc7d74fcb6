//! The programs as `plugin/build.rs` has them of `plugin/bpf`.

/// A map as `plugin/bpf/maps.h` defines it.
pub struct Map {
    pub name: &'static str,
    pub kind: u32,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
}

/// A program, and which of its instructions take which of the maps.
pub struct Source {
    pub name: &'static str,
    pub instructions: &'static [u8],
    pub maps: &'static [(usize, usize)],
}

include!(concat!(env!("OUT_DIR"), "/fast_path.rs"));

/// Which version of the programs this executable has.
pub fn digest() -> &'static str {
    DIGEST
}
