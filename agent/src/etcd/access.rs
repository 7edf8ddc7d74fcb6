//! Where etcd is, and who asks: options as etcdctl names them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

use super::refusal::{self, Files};
use crate::causes::chain;

/// Half of what a request may take: another member may answer then.
const CONNECT: Duration = Duration::from_secs(2);
/// A member that is gone without a word is noticed after both. etcd closes connections that ask more often than
/// every 5 s.
const PROBE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(10);

/// Where etcd is, and who asks.
#[derive(Args, Clone, Debug)]
pub struct Access {
    /// The members' URLs, joined by commas; https:// or http:// [default: the environment's ETCDCTL_ENDPOINTS]
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Certificates of the authorities that may have signed the members' [default: the environment's ETCDCTL_CACERT,
    /// else the system's]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The certificate to show to members; it is read again for each connection [default: the environment's ETCDCTL_CERT]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its private key [default: the environment's ETCDCTL_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name of a user of etcd [default: the environment's ETCDCTL_USER]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the user's password [default: the environment's ETCDCTL_PASSWORD, which others can see less well
    /// than an argument]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The same, looked at.
#[derive(Clone)]
pub struct Members {
    /// The members, at least one.
    pub uris: Vec<Uri>,
    /// Who asks, if by name: name and password.
    pub user: Option<(String, String)>,
    files: Files,
}

impl Access {
    /// Looks at it.
    ///
    /// # Errors
    /// What is missing, or what is wrong with what is there.
    pub fn members(&self) -> Result<Members, String> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let said = match self.endpoints.is_empty() {
            true => set("ETCDCTL_ENDPOINTS").unwrap_or_default(),
            false => self.endpoints.join(","),
        };
        let urls = said.split(',').map(str::trim).filter(|url| !url.is_empty());
        let uris = urls.map(uri).collect::<Result<Vec<_>, _>>()?;
        if uris.is_empty() {
            return Err("no member of etcd is known; name some by --endpoints or in ETCDCTL_ENDPOINTS, which the \
                        service has from /etc/default/flatnet-agent"
                .to_owned());
        }
        let file =
            |given: &Option<PathBuf>, name| given.clone().or_else(|| set(name).map(PathBuf::from));
        let cacert = file(&self.cacert, "ETCDCTL_CACERT");
        let (cert, key) = (file(&self.cert, "ETCDCTL_CERT"), file(&self.key, "ETCDCTL_KEY"));
        let tls = cacert.is_some() || cert.is_some();
        if let Some(plain) = uris.iter().find(|uri| tls && uri.scheme_str() == Some("http")) {
            return Err(format!("{plain} is without TLS, although certificates are given"));
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some([cert, key]),
            (None, None) => None,
            _ => return Err("--cert and --key belong together".to_owned()),
        };
        let user = self.user(set("ETCDCTL_USER"), set("ETCDCTL_PASSWORD"))?;
        Ok(Members { uris, user, files: Files { cacert, identity } })
    }

    fn user(
        &self,
        user: Option<String>,
        password: Option<String>,
    ) -> Result<Option<(String, String)>, String> {
        let given = self.user.as_deref();
        if given.is_some_and(|user| user.contains(':')) {
            return Err("--user NAME: everyone on this machine sees what is written there; \
                        put the password into a file for --password-file"
                .to_owned());
        }
        let Some(user) = given.map(str::to_owned).or(user) else {
            return match self.password_file {
                Some(_) => Err("--password-file is of no use without --user".to_owned()),
                None => Ok(None),
            };
        };
        let (name, inline) = match user.split_once(':') {
            Some((name, password)) => (name.to_owned(), Some(password.to_owned())),
            None => (user, None),
        };
        let password = match &self.password_file {
            Some(path) => Some(read(path)?.lines().next().unwrap_or_default().to_owned()),
            None => inline.or(password),
        };
        let missing = || format!("no password of {name}: give --password-file or ETCDCTL_PASSWORD");
        Ok(Some((name.clone(), password.ok_or_else(missing)?)))
    }
}

/// A member's URL.
fn uri(text: &str) -> Result<Uri, String> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = with_scheme.parse().map_err(|e| format!("{text:?} is no URL: {e}"))?;
    // What stands behind the host is a port.
    let port =
        uri.authority().is_none_or(|all| all.as_str() == all.host() || all.port_u16().is_some());
    let plain = port && matches!(uri.path(), "" | "/") && uri.query().is_none();
    match (uri.scheme_str(), uri.host(), plain) {
        (Some("http" | "https"), Some(_), true) => Ok(uri),
        _ => Err(format!("{text:?} is no URL of a member of etcd; write https://HOST:2379")),
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

impl Members {
    /// Why there is no connection to one of them, with what that means for whoever chose URLs and files.
    pub fn explain(&self, uri: &str, why: String) -> String {
        refusal::explain(why, uri.starts_with("https:"), &self.files)
    }

    /// A way to one of them, which is not gone yet. The files of certificates are read, as they are renewed at
    /// times.
    ///
    /// # Errors
    /// A file cannot be read, or says nothing of the kind.
    pub fn endpoint(&self, uri: &Uri) -> Result<Endpoint, String> {
        let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
        let endpoint = Endpoint::from(uri.clone())
            .user_agent(agent)
            .map_err(|e| e.to_string())?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(ANSWER)
            .buffer_size(16);
        if uri.scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        // Of an IPv6 address the brackets are the URL's.
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let tls = ClientTlsConfig::new().domain_name(host).timeout(CONNECT);
        let pem = |path: &Path, kind| refusal::check(path, read(path)?, kind);
        let tls = match &self.files.cacert {
            Some(path) => tls.ca_certificate(Certificate::from_pem(pem(path, "CERTIFICATE")?)),
            None => tls.with_native_roots(),
        };
        let tls = match &self.files.identity {
            Some([cert, key]) => {
                let (cert, key) = (pem(cert, "CERTIFICATE")?, pem(key, "PRIVATE KEY")?);
                tls.identity(Identity::from_pem(cert, key))
            }
            None => tls,
        };
        endpoint.tls_config(tls).map_err(|e| self.explain("https:", chain(&e)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        access: Access,
    }

    fn members(arguments: &[&str]) -> Result<Members, String> {
        Alone::parse_from([&["x"], arguments].concat()).access.members()
    }

    #[test]
    fn members_are_urls() {
        let some = members(&["--endpoints", "https://[fd00::1]:2379,https://etcd-2:2379"]).unwrap();
        let hosts: Vec<_> = some.uris.iter().map(Uri::host).collect();
        assert_eq!(hosts, [Some("[fd00::1]"), Some("etcd-2")]);
        let plain = members(&["--endpoints", "127.0.0.1:2379"]).unwrap();
        assert_eq!(plain.uris[0].scheme_str(), Some("http"));
        for wrong in ["https://", "ftp://a:1", "https://a:1/v3", "https://a b", "https://a:x"] {
            let error = members(&["--endpoints", wrong]).err().unwrap();
            assert!(error.contains(wrong), "{error}");
        }
        let error = members(&["--endpoints", "http://a:1", "--cacert", "/ca"]).err().unwrap();
        assert!(error.contains("without TLS"), "{error}");
    }

    #[test]
    fn a_password_is_in_no_argument() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "s3cret \n").unwrap();
        let file = file.to_str().unwrap();
        let of = |more: &[&str]| {
            let all = [&["--endpoints", "http://a:1"], more].concat();
            Alone::parse_from([&["x"], all.as_slice()].concat()).access
        };
        let with = |more: &[&str], user: Option<&str>, password: Option<&str>| {
            of(more).user(user.map(str::to_owned), password.map(str::to_owned))
        };
        let pair = |name: &str, password: &str| Ok(Some((name.to_owned(), password.to_owned())));
        assert_eq!(
            with(&["--user", "a", "--password-file", file], None, None),
            pair("a", "s3cret ")
        );
        assert_eq!(with(&[], Some("b"), Some("x")), pair("b", "x"));
        assert_eq!(with(&[], Some("b:y"), None), pair("b", "y"));
        assert_eq!(with(&[], None, None), Ok(None));
        assert!(with(&["--user", "a:b"], None, None).unwrap_err().contains("everyone"));
        assert!(with(&["--user", "a"], None, None).unwrap_err().contains("no password of a"));
        assert!(with(&["--password-file", file], None, None).unwrap_err().contains("--user"));
        let missing = with(&["--user", "a", "--password-file", "/none"], None, None).unwrap_err();
        assert!(missing.starts_with("cannot read /none: "), "{missing}");
    }
}
