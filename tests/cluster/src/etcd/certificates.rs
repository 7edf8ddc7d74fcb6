//! Certificates of an etcd and of who asks it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flatnet_tests::program::{command, finish, said};

/// An authority, with the members' certificate.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// For members at these addresses.
    pub fn new(folder: &Path, members: &[IpAddr]) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let certificates = Self { folder: folder.to_owned() };
        certificates.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=etcd-ca \
             -keyout ca.key -out ca.crt",
        );
        let names = members.iter().map(|address| format!("IP:{address}"));
        let names = names.chain(["IP:127.0.0.1".to_owned()]).collect::<Vec<_>>().join(",");
        certificates.issue("server", &format!("subjectAltName={names}\n"));
        certificates
    }

    /// Makes a certificate for a client, which etcd takes for a user of that name.
    pub fn client(&self, name: &str) {
        self.issue(name, "extendedKeyUsage=clientAuth\n");
    }

    /// A file: `ca.crt`, or `NAME.crt` and `NAME.key`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn issue(&self, name: &str, extensions: &str) {
        fs::write(self.folder.join("extensions"), extensions).expect("write extensions");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
             -out {name}.crt"
        ));
    }

    fn openssl(&self, line: &str) {
        let mut openssl = command("openssl", line.split_whitespace());
        let output = finish(openssl.current_dir(&self.folder), b"");
        assert!(output.status.success(), "openssl {line}: {}", said(&output));
    }
}
