//! Processes that are killed, and machines that lose their power, at any moment.
//!
//! The same work is cut short in two ways. Whatever layers the store lists afterwards have to be whole,
//! which the work makes possible to tell: each file says what has to be in it, and each layer how many
//! files it has.

mod kill;
mod power;
mod work;
