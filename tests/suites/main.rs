//! End-to-end suites on a real mount with real guests; one file a promise.
