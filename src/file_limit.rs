//! How many files this process may have open, sockets included.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open files to what the system allows at most, as servers do: the usual 1,024
/// is kept low for the sake of programs that use `select`. Where that fails the limit stays as it is.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, ?maximum, "failed to raise the limit on open files");
    }
}

/// How many files may be open; none: any number.
pub fn current() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
