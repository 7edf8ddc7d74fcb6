//! Maps of the programs: made, found again, read and written.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::call::{Attributes, Command, call, info, open, refused};
use super::object::Map;
use super::program::Program;
use crate::kernel::KernelError;

/// `BPF_OBJ_NAME_LEN`, with the NUL: the longest of our names fits.
const NAME: usize = 16;

/// Key and value.
type Element<const K: usize, const V: usize> = ([u8; K], [u8; V]);

/// A map's name in the kernel.
fn full_name(name: &str) -> String {
    format!("flatnet_{name}")
}

/// Makes an empty map.
pub(super) fn create(map: &Map) -> Result<OwnedFd, KernelError> {
    let mut attributes = Attributes::new()
        .number(0, map.kind)
        .number(4, map.key)
        .number(8, map.value)
        .number(12, map.entries)
        .number(16, map.flags)
        .put(28, full_name(map.name).as_bytes());
    // SAFETY: it takes numbers only.
    let made = unsafe { open(Command::MapCreate, &mut attributes) };
    made.map_err(|errno| refused(format!("make the map {}", map.name), errno, &[]))
}

/// The map of that name which a program uses.
pub(super) fn of(program: &Program, name: &str) -> Result<OwnedFd, KernelError> {
    find(program, name).map(|(_, map)| map)
}

/// Its number.
pub(super) fn id_of(program: &Program, name: &str) -> Result<u32, KernelError> {
    find(program, name).map(|(id, _)| id)
}

fn find(program: &Program, name: &str) -> Result<(u32, OwnedFd), KernelError> {
    const NR_MAP_IDS: usize = 52;
    const MAP_IDS: usize = 56;
    const MAP_NAME: usize = 24;
    let missing =
        || refused(format!("find the map {name} of program {}", program.id), Errno::ENOENT, &[]);
    let held = program.held.as_ref().ok_or_else(missing)?;
    let mut ids = [0_u32; 16];
    let mut about = [0_u8; 64];
    about[NR_MAP_IDS..MAP_IDS].copy_from_slice(&(ids.len() as u32).to_ne_bytes());
    about[MAP_IDS..].copy_from_slice(&(ids.as_mut_ptr() as u64).to_ne_bytes());
    info(held, &mut about)?;
    for id in ids.into_iter().filter(|id| *id != 0) {
        let mut attributes = Attributes::new().number(0, id);
        // SAFETY: it takes a number only.
        let found = unsafe { open(Command::MapById, &mut attributes) };
        let Ok(map) = found else { continue };
        let mut about = [0_u8; MAP_NAME + NAME];
        info(&map, &mut about)?;
        let has = about[MAP_NAME..].split(|byte| *byte == 0).next().unwrap_or_default();
        if has == full_name(name).as_bytes() {
            return Ok((id, map));
        }
    }
    Err(missing())
}

/// Reads the value of a key, as long as the map's are: another version's may be longer than ours.
pub(super) fn value(map: &OwnedFd, key: u32) -> Result<Vec<u8>, KernelError> {
    const VALUE_SIZE: usize = 12;
    let mut about = [0_u8; VALUE_SIZE + 4];
    info(map, &mut about)?;
    let size = about.last_chunk().copied().map(u32::from_ne_bytes).unwrap_or_default();
    let mut value = vec![0; size as usize];
    read(map, key, &mut value)?;
    Ok(value)
}

/// Reads the value of a key; `value` is as long as the map's.
pub(super) fn read(map: &OwnedFd, key: u32, value: &mut [u8]) -> Result<(), KernelError> {
    let key = key.to_ne_bytes();
    let mut attributes = element(map, &key).memory(16, value.as_mut_ptr());
    // SAFETY: key and value live until it returns, and are as long as the map's.
    let outcome = unsafe { call(Command::Lookup, &mut attributes) };
    outcome.map(drop).map_err(|errno| refused("read an element".into(), errno, &[]))
}

/// Writes the value of a key.
pub(super) fn write(map: &OwnedFd, key: u32, value: &[u8]) -> Result<(), KernelError> {
    let key = key.to_ne_bytes();
    let mut attributes = element(map, &key).memory(16, value.as_ptr());
    // SAFETY: as above.
    let outcome = unsafe { call(Command::Update, &mut attributes) };
    outcome.map(drop).map_err(|errno| refused("write an element".into(), errno, &[]))
}

fn element(map: &OwnedFd, key: &[u8]) -> Attributes {
    Attributes::new().number(0, map.as_raw_fd() as u32).memory(8, key.as_ptr())
}

/// All elements of a hash with at most so many, keys and values of these lengths.
pub(super) fn all<const K: usize, const V: usize>(
    map: &OwnedFd,
    most: u32,
) -> Result<Vec<Element<K, V>>, KernelError> {
    let mut keys = vec![[0_u8; K]; most as usize];
    let mut values = vec![[0_u8; V]; most as usize];
    let mut batch = [0_u8; 8];
    let mut attributes = several(map, keys.as_ptr().cast(), values.as_ptr().cast(), most)
        .memory(8, batch.as_mut_ptr())
        .memory(16, keys.as_mut_ptr().cast())
        .memory(24, values.as_mut_ptr().cast());
    // SAFETY: keys and values have room for as many as is said, and the place of the next batch for a number.
    let outcome = unsafe { call(Command::LookupBatch, &mut attributes) };
    match outcome {
        // ENOENT: there are no more.
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(refused("read a map".into(), errno, &[])),
    }
    let count = attributes.written(32).min(most) as usize;
    keys.truncate(count);
    Ok(keys.into_iter().zip(values).collect())
}

/// Puts elements in their places.
pub(super) fn put<const K: usize, const V: usize>(
    map: &OwnedFd,
    elements: &[Element<K, V>],
) -> Result<(), KernelError> {
    let (keys, values): (Vec<_>, Vec<_>) = elements.iter().copied().unzip();
    change(Command::UpdateBatch, map, keys.as_ptr().cast(), values.as_ptr().cast(), elements.len())
}

/// Takes elements away.
pub(super) fn remove<const K: usize>(map: &OwnedFd, keys: &[[u8; K]]) -> Result<(), KernelError> {
    change(Command::DeleteBatch, map, keys.as_ptr().cast(), std::ptr::null(), keys.len())
}

fn change(
    command: Command,
    map: &OwnedFd,
    keys: *const u8,
    values: *const u8,
    count: usize,
) -> Result<(), KernelError> {
    if count == 0 {
        return Ok(());
    }
    let mut attributes = several(map, keys, values, count as u32);
    // SAFETY: the callers' keys and values, as many as is said, live until it returns.
    let outcome = unsafe { call(command, &mut attributes) };
    outcome.map(drop).map_err(|errno| refused("change a map".into(), errno, &[]))
}

fn several(map: &OwnedFd, keys: *const u8, values: *const u8, count: u32) -> Attributes {
    let attributes = Attributes::new().memory(16, keys).memory(24, values);
    attributes.number(32, count).number(36, map.as_raw_fd() as u32)
}
