//! One pod's attachment: the veth pair, its addresses and whose they are, and whether the pod lives.

pub mod books;
pub mod delegate;
pub mod dockers;
pub mod ends;
pub mod executable;
pub mod finished;
pub mod grant;
pub mod guards;
pub mod living;
pub mod outside;
pub mod pods;
pub mod ready;
pub mod sandboxes;
pub mod side;
pub mod unleased;
