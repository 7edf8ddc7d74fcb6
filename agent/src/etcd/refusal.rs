//! What a TLS library, or a member by an alert, says of why there is no connection is short, and no type of it is left where
//! it is heard of: what is to be done about it.

use std::path::{Path, PathBuf};

/// The files that a connection is made with.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Certificates of authorities.
    pub cacert: Option<PathBuf>,
    /// The certificate that is shown, and its key.
    pub identity: Option<[PathBuf; 2]>,
}

/// What comes before an alert's name in rustls' words.
const ALERT: &str = "received fatal alert: ";

/// Why there is no connection, with what it means for whoever chose URLs and files.
pub fn explain(why: String, is_tls: bool, files: &Files) -> String {
    let hint = match is_tls {
        true => of_tls(&why, files),
        // Neither refused nor silent: something answers that is no HTTP.
        false => {
            why.contains("connection error: ").then(|| "is it https:// that it speaks?".to_owned())
        }
    };
    match hint {
        Some(hint) => format!("{why} ({hint})"),
        None => why,
    }
}

fn of_tls(why: &str, Files { cacert, identity }: &Files) -> Option<String> {
    if why.contains("UnknownIssuer") {
        return Some(match cacert {
            Some(path) => format!("its certificate is of no authority in {}", path.display()),
            None => "its certificate is of no authority that this machine knows: give --cacert"
                .to_owned(),
        });
    }
    if let (true, Some([certificate, key])) = (why.contains("KeyMismatch"), identity) {
        return Some(format!("{} is not the key of {}", key.display(), certificate.display()));
    }
    let alert = why.split_once(ALERT)?.1.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let problem = match alert {
        "CertificateExpired" => "has expired, or is not valid yet, by its clock",
        "UnknownCA" => "is of an authority that it does not know",
        "BadCertificate"
        | "UnsupportedCertificate"
        | "CertificateUnknown"
        | "CertificateRevoked" => "is none that it takes",
        "CertificateRequired" => "is needed",
        _ => return None,
    };
    Some(match identity {
        Some([path, _]) => format!("the member says: the certificate {} {problem}", path.display()),
        None => format!("the member says: a certificate, given by --cert and --key, {problem}"),
    })
}

/// Whether a file has what it should: an empty one would be taken for no authority at all.
pub fn check(path: &Path, text: String, kind: &str) -> Result<String, String> {
    match text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(kind)) {
        true => Ok(text),
        false => Err(format!("{} has no {} in PEM", path.display(), kind.to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_the_file() {
        let none = Files::default();
        let all = Files {
            cacert: Some("/etc/ca.crt".into()),
            identity: Some(["/etc/a.crt", "/etc/a.key"].map(PathBuf::from)),
        };
        let of = |why: &str, files: &Files| explain(why.to_owned(), true, files);
        for (why, files, hint) in [
            ("invalid peer certificate: UnknownIssuer", &all, "of no authority in /etc/ca.crt"),
            ("invalid peer certificate: UnknownIssuer", &none, "this machine knows: give --cacert"),
            ("inconsistent: KeyMismatch", &all, "/etc/a.key is not the key of /etc/a.crt"),
            (
                "broken: received fatal alert: CertificateExpired",
                &all,
                "the member says: the certificate /etc/a.crt has expired, or is not valid yet, by its clock",
            ),
            (
                "received fatal alert: UnknownCA; more",
                &all,
                "is of an authority that it does not know",
            ),
            (
                "received fatal alert: CertificateRequired",
                &none,
                "given by --cert and --key, is needed",
            ),
        ] {
            let said = of(why, files);
            assert!(said.starts_with(why) && said.ends_with(&format!("{hint})")), "{said}");
        }
        for other in ["refused", "received fatal alert: ProtocolVersion", ALERT] {
            assert_eq!(of(other, &all), other);
        }
        let plain = |why: &str| explain(why.to_owned(), false, &none);
        assert!(
            plain("transport error: connection error: broken pipe")
                .ends_with("(is it https:// that it speaks?)")
        );
        assert_eq!(
            plain("transport error: Connection refused"),
            "transport error: Connection refused"
        );
    }

    #[test]
    fn a_file_of_another_kind_is_told() {
        let check = |text: &str, kind| check(Path::new("/f"), text.to_owned(), kind);
        let key = "-----BEGIN EC PRIVATE KEY-----\n";
        assert_eq!(check(key, "PRIVATE KEY").as_deref(), Ok(key));
        assert_eq!(check(key, "CERTIFICATE").unwrap_err(), "/f has no certificate in PEM");
        assert_eq!(check("", "PRIVATE KEY").unwrap_err(), "/f has no private key in PEM");
    }
}
