//! Certificates of an etcd and of who asks it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flatnet_tests::program::{command, finish, said};

/// An authority, with the members' certificate.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    /// Those of the members.
    names: String,
}

/// `openssl x509` knows no certificate that begins later; `openssl ca` does.
const CA: &str = "[ca]
default_ca = own
[own]
database = ca.index
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
unique_subject = no
rand_serial = yes
policy = names
[names]
commonName = supplied
";

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// As long as a test may last.
    Now,
    /// On the first day of 2001.
    Past,
    /// In 2099.
    Future,
}

impl Certificates {
    /// For members at these addresses.
    pub fn new(folder: &Path, members: &[IpAddr]) -> Self {
        fs::create_dir_all(folder).expect("a folder for certificates");
        let names = members.iter().map(|address| format!("IP:{address}"));
        let names = names.chain(["IP:127.0.0.1".to_owned()]).collect::<Vec<_>>().join(",");
        let certificates = Self { folder: folder.to_owned(), names };
        certificates.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=etcd-ca \
             -keyout ca.key -out ca.crt",
        );
        certificates.server_of(Validity::Now);
        certificates
    }

    /// Makes a certificate for a client, which etcd takes for a user of that name.
    pub fn client(&self, name: &str) {
        self.client_of(name, Validity::Now);
    }

    /// The same, valid at another time.
    pub fn client_of(&self, name: &str, validity: Validity) {
        self.issue(name, "extendedKeyUsage=clientAuth\n", validity);
    }

    /// Makes the members' certificate; a member shows the one that is there when somebody connects to it.
    pub fn server_of(&self, validity: Validity) {
        self.issue("server", &format!("subjectAltName={}\n", self.names), validity);
    }

    /// A file: `ca.crt`, or `NAME.crt` and `NAME.key`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// With the key that is there already: who reads both files between two writes finds a pair.
    fn issue(&self, name: &str, extensions: &str, validity: Validity) {
        fs::write(self.folder.join("extensions"), extensions).expect("write extensions");
        if !self.folder.join(format!("{name}.key")).exists() {
            self.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key \
                 -out {name}.csr"
            ));
        }
        let days = match validity {
            Validity::Now => {
                self.openssl(&format!(
                    "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
                     -out new.crt"
                ));
                return self.put(name);
            }
            Validity::Past => "-startdate 20010101000000Z -enddate 20010102000000Z",
            Validity::Future => "-startdate 20990101000000Z -enddate 20990201000000Z",
        };
        fs::write(self.folder.join("ca.conf"), CA).expect("write what openssl ca reads");
        fs::write(self.folder.join("ca.index"), "").expect("write what openssl ca reads");
        self.openssl(&format!(
            "ca -batch -config ca.conf -notext -in {name}.csr -extfile extensions {days} -out new.crt"
        ));
        self.put(name);
    }

    /// Whole or not at all: it is read at any time.
    fn put(&self, name: &str) {
        let target = self.folder.join(format!("{name}.crt"));
        fs::rename(self.folder.join("new.crt"), target).expect("put a certificate in its place");
    }

    fn openssl(&self, line: &str) {
        let mut openssl = command("openssl", line.split_whitespace());
        let output = finish(openssl.current_dir(&self.folder), b"");
        assert!(output.status.success(), "openssl {line}: {}", said(&output));
    }
}
