//! The text and code of each failure.

use super::*;

fn io(errno: Errno) -> Error {
    Error::io("lock", Path::new("/run/flatnet/pods/node-a/lock"))(errno.into())
}

#[test]
fn every_failure_says_what_and_why_and_has_its_code() {
    let address = IpAddr::from([10, 244, 1, 5]);
    let second = IpAddr::from([10, 244, 1, 6]);
    let (node, ranges) = ("node-a".to_owned(), "10.244.1.0/24".to_owned());
    let cases = [
        (
            io(Errno::ENOSPC),
            5,
            "cannot lock /run/flatnet/pods/node-a/lock: No space left on device (os error 28): \
             free space there or set another stateDir or dataDir",
        ),
        (
            io(Errno::EROFS),
            5,
            "cannot lock /run/flatnet/pods/node-a/lock: Read-only file system (os error 30): \
             set stateDir or dataDir to a writable folder",
        ),
        (
            io(Errno::EIO),
            5,
            "cannot lock /run/flatnet/pods/node-a/lock: Input/output error (os error 5)",
        ),
        (
            Error::Folder { path: "/run/flatnet".into(), why: "it is a symbolic link" },
            5,
            "will not keep leases in /run/flatnet: it is a symbolic link; remove it, or set \
             another stateDir or dataDir",
        ),
        (
            Error::OutOfRanges { address, node: node.clone(), ranges: ranges.clone() },
            7,
            "the requested address 10.244.1.5 is not one that node node-a gives to pods: \
             choose one of 10.244.1.0/24",
        ),
        (
            Error::SeveralOfFamily { first: address, second },
            7,
            "cannot give both requested addresses 10.244.1.5 and 10.244.1.6: request one \
             address of each family",
        ),
        (
            Error::Taken { address, holder: "eth0 of container c1".to_owned() },
            101,
            "the requested address 10.244.1.5 is taken by eth0 of container c1: request \
             another, or delete that one",
        ),
        (
            Error::Exhausted { node, ranges },
            100,
            "no address left for a pod on node node-a in 10.244.1.0/24: add a range to this \
             node",
        ),
    ];
    let several = [address, second].to_vec();
    let set = "10.244.1.1-10.244.1.254".to_owned();
    let more = [
        (
            Error::NoSet { addresses: several },
            7,
            "cannot give the requested addresses 10.244.1.5, 10.244.1.6: request one address of \
             each range set, in its ranges",
        ),
        (
            Error::Gateway { address },
            7,
            "the requested address 10.244.1.5 is the gateway of its range: request another",
        ),
        (
            Error::Full { set },
            100,
            "no address left in 10.244.1.1-10.244.1.254: add a range to this set, or delete \
             attachments",
        ),
        (
            Error::NotAsMade { reason: "there is no lease".to_owned() },
            105,
            "there is no lease; delete the attachment and add it again",
        ),
        (
            Error::Unavailable(Box::new(io(Errno::EIO))),
            50,
            "addresses cannot be given: cannot lock /run/flatnet/pods/node-a/lock: Input/output \
             error (os error 5)",
        ),
        (
            Error::Several(vec![io(Errno::EIO), Error::Gateway { address }]),
            5,
            "cannot lock /run/flatnet/pods/node-a/lock: Input/output error (os error 5); the \
             requested address 10.244.1.5 is the gateway of its range: request another",
        ),
    ];
    for (error, code, text) in cases.into_iter().chain(more) {
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
    }
}

#[test]
fn a_missing_path_never_reads_as_success_to_containerd() {
    let text = io(Errno::ENOENT).to_string().to_lowercase();
    assert!(!text.contains("not found") && !text.contains("no such file"), "{text}");
}
