//! Telling the service manager that a command which goes on has done its work once: systemd starts
//! what is ordered behind the service then (sd_notify(3), `Type=notify`).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use super::output::complain;

/// Says so, if there is a manager that wants to know.
pub fn ready() {
    let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
        return;
    };
    if let Err(error) = send(&address) {
        complain(&format!("cannot notify {}: {error}", Path::new(&address).display()));
    }
}

fn send(address: &OsStr) -> io::Result<()> {
    // An abstract socket is written with an @ in place of its leading zero.
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(address))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(address: &OsStr, socket: &UnixDatagram) -> Vec<u8> {
        send(address).unwrap();
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn both_kinds_of_sockets_hear_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(heard(path.as_os_str(), &socket), b"READY=1");

        let name = format!("flatnet-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        assert_eq!(heard(OsStr::new(&format!("@{name}")), &socket), b"READY=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(send(folder.path().join("notify").as_os_str()).is_err());
    }
}
