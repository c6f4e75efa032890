//! Hostile plugins, judged by the built `nfio` itself: whatever is in them, the verdict is a sentence, in time.

mod bed;
mod calls;
mod files;
mod place;
