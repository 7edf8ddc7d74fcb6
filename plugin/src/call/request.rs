//! What a runtime asks of us.

use flatnet_conf::{Invocation, NetworkConf};

use crate::attachment::delegate::Delegate;
use crate::error::Error;

/// A call.
pub struct Call {
    /// The environment.
    pub invocation: Invocation,
    /// The network configuration.
    pub conf: NetworkConf,
    /// The same as it came, for a delegate.
    pub input: Vec<u8>,
}

impl Call {
    /// The IPAM plugin that gives the addresses; `None` if we do.
    ///
    /// # Errors
    /// Code 7 if it is not in `CNI_PATH`.
    pub fn delegate(&self) -> Result<Option<Delegate<'_>>, Error> {
        let find = |name: &String| Delegate::find(name, &self.invocation.path, &self.input);
        self.conf.ipam.as_ref().map(find).transpose()
    }
}
