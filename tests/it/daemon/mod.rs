//! The daemon, driven by clients that were not written for it.

mod authority;
mod bollard;
mod buildx;
mod calls;
mod commands;
mod configured;
mod ctrl_c;
mod debugger;
mod dockerfiles;
mod fake;
mod frontends;
mod greedy;
mod heavy;
mod hostile;
mod keys;
mod killed;
mod lifecycle;
mod platforms;
mod raw;
mod rig;
mod robust;
mod rows;
mod starting;
mod together;
mod wire;
