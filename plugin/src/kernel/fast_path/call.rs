//! bpf(2). libc has no wrapper for it, and a loader in a library would be larger than what is loaded.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;

use super::object::Source;
use super::program::Program;
use crate::kernel::KernelError;

/// Of the two licences that the programs' sources offer, the one that the kernel knows: a lookup of a way and of its MTU are for
/// programs under it alone (`gpl_only` of `bpf_fib_lookup` and `bpf_check_mtu`).
const LICENSE: &CStr = c"GPL";

/// What is asked of bpf(2) (`enum bpf_cmd`).
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    MapCreate = 0,
    Lookup = 1,
    Update = 2,
    ProgramLoad = 5,
    ProgramById = 13,
    MapById = 14,
    Info = 15,
    LookupBatch = 24,
    UpdateBatch = 26,
    DeleteBatch = 27,
}

/// `union bpf_attr`: numbers at their places, the rest 0.
#[repr(C, align(8))]
pub(super) struct Attributes([u8; 128]);

impl Attributes {
    pub(super) fn new() -> Self {
        Self([0; 128])
    }

    /// Puts bytes at a place.
    pub(super) fn put(mut self, place: usize, bytes: &[u8]) -> Self {
        self.0.iter_mut().skip(place).zip(bytes).for_each(|(to, from)| *to = *from);
        self
    }

    pub(super) fn number(self, place: usize, number: u32) -> Self {
        self.put(place, &number.to_ne_bytes())
    }

    /// The address of memory that the kernel reads or writes: it must outlive the call.
    pub(super) fn memory(self, place: usize, first: *const u8) -> Self {
        self.put(place, &(first as u64).to_ne_bytes())
    }

    /// A number that the kernel has written.
    pub(super) fn written(&self, place: usize) -> u32 {
        let bytes = self.0.get(place..).and_then(|rest| rest.first_chunk()).copied();
        u32::from_ne_bytes(bytes.unwrap_or_default())
    }
}

/// Calls it.
///
/// # Safety
/// Each address in the attributes is of memory as long as the command needs, which nothing else uses meanwhile.
pub(super) unsafe fn call(command: Command, attributes: &mut Attributes) -> Result<i32, Errno> {
    // SAFETY: the attributes are as long as is said; the caller answers for what they point to.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            attributes.0.as_mut_ptr(),
            attributes.0.len() as libc::c_uint,
        )
    };
    Errno::result(outcome).map(|outcome| outcome as i32)
}

/// A call whose answer is a descriptor.
///
/// # Safety
/// As [`call`].
pub(super) unsafe fn open(command: Command, attributes: &mut Attributes) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's.
    let descriptor = unsafe { call(command, attributes)? };
    // SAFETY: the kernel has just opened it, with close-on-exec, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What the kernel refuses, in words.
pub(super) fn refused(what: String, errno: Errno, log: &[u8]) -> KernelError {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.trim_end_matches('\0').trim_end().lines().collect();
    let last = lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
    let extended = (!last.is_empty()).then_some(last);
    KernelError::Refused { request: format!("bpf: {what}"), errno, extended }
}

/// Loads a program with these maps.
pub(super) fn load(source: &Source, maps: &[OwnedFd]) -> Result<Program, KernelError> {
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    const BPF_PSEUDO_MAP_FD: u8 = 1;
    const INSTRUCTION: usize = 8;
    let mut instructions = source.instructions.to_vec();
    for (place, map) in source.maps {
        let start = place * INSTRUCTION;
        let (Some(bytes), Some(map)) =
            (instructions.get_mut(start..start + INSTRUCTION), maps.get(*map))
        else {
            continue;
        };
        // `struct bpf_insn`: the source register in the upper half of the second byte, the number behind.
        bytes[1] |= BPF_PSEUDO_MAP_FD << 4;
        bytes[4..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
    }
    let attempt = |log: &mut [u8]| {
        let mut attributes = Attributes::new()
            .number(0, BPF_PROG_TYPE_SCHED_CLS)
            .number(4, (instructions.len() / INSTRUCTION) as u32)
            .memory(8, instructions.as_ptr())
            .memory(16, LICENSE.as_ptr().cast())
            .put(48, format!("flatnet_{}", source.name).as_bytes());
        if !log.is_empty() {
            attributes =
                attributes.number(24, 1).number(28, log.len() as u32).memory(32, log.as_mut_ptr());
        }
        // SAFETY: instructions, licence and log live until it returns.
        unsafe { open(Command::ProgramLoad, &mut attributes) }
    };
    match attempt(&mut []) {
        Ok(held) => with_id(held),
        Err(errno) => {
            // Once more for the verifier's words.
            let mut log = vec![0; 1 << 20];
            let _ = attempt(&mut log);
            let written = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            Err(refused(format!("load the program {}", source.name), errno, &log[..written]))
        }
    }
}

/// The program of a number.
pub(super) fn find(id: u32) -> Result<Program, KernelError> {
    let mut attributes = Attributes::new().number(0, id);
    // SAFETY: it takes a number only.
    let found = unsafe { open(Command::ProgramById, &mut attributes) };
    let held = found.map_err(|errno| refused(format!("find program {id}"), errno, &[]))?;
    Ok(Program { id, held: Some(Arc::new(held)) })
}

/// Reads what the kernel says of a program or map (`struct bpf_prog_info`, `struct bpf_map_info`).
pub(super) fn info(of: &OwnedFd, info: &mut [u8]) -> Result<(), KernelError> {
    let mut attributes = Attributes::new()
        .number(0, of.as_raw_fd() as u32)
        .number(4, info.len() as u32)
        .memory(8, info.as_mut_ptr());
    // SAFETY: the kernel writes no more than the length that is said.
    let outcome = unsafe { call(Command::Info, &mut attributes) };
    outcome.map(drop).map_err(|errno| refused("ask about an object".into(), errno, &[]))
}

fn with_id(held: OwnedFd) -> Result<Program, KernelError> {
    let mut about = [0; 64];
    info(&held, &mut about)?;
    let id = u32::from_ne_bytes([about[4], about[5], about[6], about[7]]);
    Ok(Program { id, held: Some(Arc::new(held)) })
}
