//! Errors in whole sentences: the outermost often says no more than that something failed.

use std::error::Error;

use crate::tls;

/// An error and its causes, those left out that the one before has said.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let words =
        |error: &(dyn Error + 'static)| tls::words(error).unwrap_or_else(|| error.to_string());
    let mut text = words(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said = words(cause);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn causes_are_told_once() {
        let innermost = Said("refused", None);
        let middle = Said("asking: refused", Some(Box::new(innermost)));
        assert_eq!(chain(&middle), "asking: refused");
        assert_eq!(chain(&Said("failed", Some(Box::new(middle)))), "failed: asking: refused");
    }
}
