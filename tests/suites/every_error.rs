//! Every class of error (`middlebox-sdk/src/error.rs`) is raised by a real cause, with its code, its errno and its lines in `last_error`.
//!
//! What no user can raise through a mount is raised by the fixture type `odd`, which answers with the class itself:
//! 715 (an empty name never gets past mkdir(2)) and 723 where it comes from a module. What never reaches `last_error`
//! because it is no verb (mkdir, rmdir, a read) is looked for in its errno and, where it is told there, in the log.

mod guests;
mod handle;
mod instances;
mod modules;

use nfio_tests::{Instance, errno};

/// Looks at what the last verb left in `last_error`: all its lines, in order.
#[track_caller]
fn told(instance: &Instance, code: u32, class: &str, errno: &str, operation: &str, words: &str) {
    let text = instance.try_get("last_error").expect("last_error");
    let mut lines = text.splitn(6, '\n');
    let mut line = || lines.next().unwrap_or_default();
    assert_eq!(line(), format!("code: {code}"), "{text}");
    assert_eq!(line(), format!("error: {class}"), "{text}");
    assert_eq!(line(), format!("errno: {errno}"), "{text}");
    assert_eq!(line(), format!("operation: {operation}"), "{text}");
    let time = line();
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let shape: Vec<_> = time.trim_start_matches("time: ").split(['-', 'T', ':', 'Z']).collect();
    assert!(shape.len() == 7 && shape.iter().all(|part| digits(part)), "{text}");
    let message = line();
    assert!(message.starts_with("message: ") && message.ends_with('\n'), "{text}");
    assert!(message.contains(words), "{words:?} is not in {text}");
}

/// A verb that must fail so.
#[track_caller]
fn fails(instance: &Instance, verb: &str, code: u32, class: &str, name: &str, number: i32, words: &str) {
    assert_eq!(errno(instance.try_act(verb)), number, "{verb}: {}", instance.get("last_error"));
    told(instance, code, class, name, verb, words);
}

/// Says how an instance of type `odd` misbehaves.
fn say(odd: &Instance, text: &str) {
    odd.put("say", &format!("{text}\n"));
}
