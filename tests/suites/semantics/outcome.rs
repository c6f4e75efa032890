//! What an operation came to, in a word.

use nix::errno::Errno;
use std::io;

/// `ok`, or the errno's name.
pub(super) fn of<T>(answer: io::Result<T>) -> String {
    told(answer.map(|_| "ok"))
}

/// What it came to, or the errno's name.
pub(super) fn told(answer: io::Result<impl ToString>) -> String {
    match answer {
        Ok(word) => word.to_string(),
        Err(e) => match e.raw_os_error() {
            Some(number) => format!("{:?}", Errno::from_raw(number)),
            None => e.to_string(),
        },
    }
}
